"""A real server with its web door, and people and machines who send it bad things, byte by byte.

Everything crosses a socket of the loopback address. What a caller is answered comes back as an `Outcome`, whatever
carried it, so that one judge can look at all of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tenure.cli.door import DoorSettings, open_door
from tenure.controlplane.app import ControlPlane
from tenure.runtime.clock import SystemClock
from tenure.runtime.ids import Uuid7Ids
from tenure.v1 import job_pb2, job_service_pb2
from tenure.web.app import Door
from tenure.web.serving import address_of, bind
from tests.controlplane.harness import RunningServer, running_server
from tests.fakes import SequenceIds

PATIENCE_S = 20.0
DETAILS_KEY = "grpc-status-details-bin"

# Jobs that are there from the beginning, all of the user `owner`.
STANDING = "standing"  # waits for ever in a queue without workers; has five hours
ENDED = "ended"  # was cancelled
ENDLESS = "endless"  # has no time allocation
FIXED = "fixed"  # its queue does not support extension
CAPPED = "capped"  # its queue allows six hours

NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended.

    Attributes:
        code: gRPC's name of the code.
        reason: of the ErrorInfo; empty: there is none, gRPC itself has answered.
        message: for people, as it came.
        fields: paths at fault.
        infos: how many ErrorInfos there were, and `domains` what they say.
        said: everything of a refusal that a person or program could read, as one text.
        answers: messages that came before the end.
        open: the stream goes on.
        http: the status code, where HTTP was spoken.
    """

    code: str
    reason: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()
    infos: int = 0
    domains: tuple[str, ...] = ()
    said: str = ""
    answers: tuple[bytes, ...] = ()
    open: bool = False
    http: int = 0


def outcome_of(error: grpc.aio.AioRpcError, answers: Sequence[bytes] = ()) -> Outcome:
    """A call that ended with an error."""
    details = [value for key, value in error.trailing_metadata() or () if key == DETAILS_KEY]
    code, message = error.code().name, error.details() or ""
    if not details:
        return Outcome(code=code, message=message, said=message, answers=tuple(answers))
    assert isinstance(details[0], bytes)
    assert len(details) == 1
    status = status_pb2.Status.FromString(details[0])
    assert (status.code, status.message) == (error.code().value[0], message), "two statuses that differ"
    return _of_status(status, answers=tuple(answers))


def _of_status(status: status_pb2.Status, *, answers: tuple[bytes, ...] = (), http: int = 0) -> Outcome:
    infos: list[error_details_pb2.ErrorInfo] = []
    violations: list[error_details_pb2.BadRequest.FieldViolation] = []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(bad):
            violations += bad.field_violations
    metadata = [f"{key}={value}" for info in infos for key, value in info.metadata.items()]
    return Outcome(
        code=code_pb2.Code.Name(status.code),
        reason=infos[0].reason if infos else "",
        message=status.message,
        fields=tuple(each.field for each in violations),
        infos=len(infos),
        domains=tuple(info.domain for info in infos),
        said="\n".join([status.message, *metadata, *(f"{each.field}: {each.description}" for each in violations)]),
        answers=answers,
        http=http,
    )


def outcome_of_response(response: httpx.Response) -> Outcome:
    """What the web door has answered: a google.rpc.Status on the native door, their own forms on the older ones."""
    if response.status_code < 400:
        return Outcome(code="OK", http=response.status_code, answers=(response.content,))
    value: dict[str, Any] = response.json()
    if "code" in value:
        status = status_pb2.Status(code=value["code"], message=value["message"])
        for detail in value["details"]:
            kind = detail.pop("@type").rpartition(".")[2]
            status.details.add().Pack(_DETAILS[kind](detail))
        return _of_status(status, http=response.status_code)
    # The older doors have no place for codes and domains.
    fields = tuple(str(each.get("field", "")) for each in value.get("fields", ()))
    reason, message = str(value.get("errorCode") or value["reason"]), str(value.get("why") or value["message"])
    return Outcome(
        code="", reason=reason, message=message, fields=fields, infos=1, domains=("tenure",), said=response.text,
        http=response.status_code,
    )  # fmt: skip


def _error_info(value: dict[str, Any]) -> Message:
    return error_details_pb2.ErrorInfo(**value)


def _bad_request(value: dict[str, Any]) -> Message:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=each.get("field", ""), description=each["description"])
            for each in value["fieldViolations"]
        ]
    )


_DETAILS: dict[str, Callable[[dict[str, Any]], Message]] = {"ErrorInfo": _error_info, "BadRequest": _bad_request}


class Scene:
    """The server, everybody's tokens, one gRPC channel and one HTTP client."""

    def __init__(self, server: RunningServer, url: str, channel: grpc.aio.Channel, client: httpx.AsyncClient) -> None:
        self.server = server
        self.plane = server.plane
        self.url = url
        self.channel = channel
        self.http = client
        self.tokens: dict[str, str] = {}
        self.silent: asyncio.Task[Outcome] | None = None
        self._mark = 0
        self._count = 0

    @property
    def position(self) -> int:
        """How far the log is."""
        return self.plane.store.head().position

    def mark(self) -> None:
        """From here on nothing more may be written; what a case had to prepare has been."""
        self._mark = self.position

    @property
    def written(self) -> int:
        """How many events were written since the mark."""
        return self.position - self._mark

    def fresh(self, what: str) -> str:
        """A name that nobody else has."""
        self._count += 1
        return f"{what}-{self._count}"

    def metadata(self, who: str) -> tuple[tuple[str, str], ...]:
        """The credentials of somebody."""
        return () if who == NOBODY else (("authorization", f"Bearer {self.tokens[who]}"),)

    # --- calls --------------------------------------------------------------------------------------------------------

    def open(
        self, rpc: str, metadata: Iterable[tuple[str, str | bytes]], within_s: float | None = PATIENCE_S
    ) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """An open call of any RPC, as `JobService.CreateJobs`, or of a path; bytes go in and out as they are."""
        path = rpc if rpc.startswith("/") else f"/tenure.v1.{rpc.replace('.', '/')}"
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(
            path, request_serializer=None, response_deserializer=None
        )
        return method(metadata=tuple(metadata), timeout=within_s)  # type: ignore[arg-type] # values of -bin are bytes

    async def call(
        self,
        rpc: str,
        *messages: bytes,
        who: str = "owner",
        extra: Iterable[tuple[str, str | bytes]] = (),
        within_s: float | None = PATIENCE_S,
        take: int | None = None,
    ) -> Outcome:
        """Send these messages and no more, and read to the end, or so many messages and leave."""
        try:
            call = self.open(rpc, (*self.metadata(who), *extra), within_s)
        except grpc.aio.UsageError as error:  # the client does not even send it
            return Outcome(code="UNSENT", message=str(error))
        answers: list[bytes] = []
        try:
            for message in messages:
                await call.write(message)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # it has ended already; how, is read below
        try:
            while take is None or len(answers) < take:
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    break
                assert isinstance(answer, bytes)
                answers.append(answer)
            else:
                call.cancel()
                return Outcome(code="OK", answers=tuple(answers), open=True)
            if await call.code() is not grpc.StatusCode.OK:
                raise await _error_of(call)
        except grpc.aio.AioRpcError as error:
            return outcome_of(error, answers)
        except asyncio.InvalidStateError:
            return outcome_of(await _error_of(call), answers)
        return Outcome(code="OK", answers=tuple(answers))

    async def ask(self, rpc: str, request: Message, response: Any, *, who: str = "owner") -> Any:
        """A call that goes well."""
        outcome = await self.call(rpc, request.SerializeToString(), who=who)
        assert outcome.code == "OK", outcome
        return response.FromString(outcome.answers[0])

    async def request(self, verb: str, path: str, *, who: str = "owner", **more: Any) -> Outcome:
        """A request to the web door."""
        headers = [*dict(self.metadata(who)).items(), *more.pop("headers", ())]
        return outcome_of_response(await self.http.request(verb, path, headers=headers, **more))

    async def is_well(self) -> bool:
        """The next good call works."""
        request = job_service_pb2.RetrieveJobRequest(id=STANDING)
        return (await self.call("JobService.RetrieveJob", request.SerializeToString())).code == "OK"

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def create(self, queue: str, *, job_id: str = "", hours: int = 5, **changes: Any) -> str:
        """A job in a queue; `job_id` is the id it gets."""
        if job_id:
            ids = self.server_ids
            ids.then(job_id)
        specification = job_pb2.JobSpecification(command="true", queue=queue, **changes)
        specification.heartbeat_interval.seconds = 3600  # nothing runs out while a test runs
        if hours:
            specification.time_allocation.seconds = hours * 3600
        request = job_service_pb2.CreateJobsRequest()
        request.items.add(specification=specification)
        response = await self.ask("JobService.CreateJobs", request, job_service_pb2.CreateJobsResponse)
        return str(response.responses[0].id)

    server_ids: SequenceIds


async def _error_of(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        details=await call.details(),
    )


Send = Callable[[Scene], Awaitable[Outcome]]


@asynccontextmanager
async def open_scene(directory: Path) -> AsyncIterator[Scene]:
    """A server on a store in this directory, with everybody in it."""
    clock, ids = SystemClock(), SequenceIds()
    urls: list[str] = []

    @asynccontextmanager
    async def beside(plane: ControlPlane) -> AsyncIterator[Door]:
        opened = bind("127.0.0.1", 0)
        urls.append(f"http://{address_of(opened)}")
        settings = DoorSettings(opened=opened, work_wait_s=0.05)
        async with open_door(plane, settings, clock=clock, ids=Uuid7Ids(), random=os.urandom) as door:
            yield door

    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
    async with (
        running_server(f"sqlite://{directory}", clock=clock, ids=ids, beside=beside) as server,
        grpc.aio.insecure_channel(server.address, options=options) as channel,
        httpx.AsyncClient(base_url=urls[0], timeout=PATIENCE_S, trust_env=False) as client,
    ):
        scene = Scene(server, urls[0], channel, client)
        scene.server_ids = ids
        await _people(scene)
        await _jobs(scene)
        # A call that never says anything takes five seconds to be refused: it begins now.
        scene.silent = asyncio.get_running_loop().create_task(_say_nothing(scene))
        try:
            yield scene
        finally:
            scene.silent.cancel()
            await asyncio.wait((scene.silent,))


async def _people(scene: Scene) -> None:
    token = scene.server.token
    scene.tokens = {
        "owner": await token("user", "owner", "lab"),
        "stranger": await token("user", "stranger"),
        "worker": await token("worker", "machines"),
        "other-worker": await token("worker", "others"),
        "bound-worker": await token("worker", "bound", queues=("elsewhere",)),
        "admin": scene.server.admin_secret,
        "garbage": "tnr_" + "x" * 43,
    }


async def _jobs(scene: Scene) -> None:
    from tenure.v1 import queue_service_pb2 as queues

    capped = queues.QueueSpecification(name="capped", max_time_allocation=Duration(seconds=6 * 3600))
    capped.features.time_extension = True
    plain = queues.QueueSpecification(name="plain", features=queues.QueueFeatures(sync=True))
    request = queues.UpsertQueuesRequest(items=[capped, plain])
    await scene.ask("QueueService.UpsertQueues", request, queues.UpsertQueuesResponse, who="admin")
    await scene.create("still", job_id=STANDING)
    await scene.create("still", job_id=ENDED)
    await scene.create("still", job_id=ENDLESS, hours=0)
    await scene.create("plain", job_id=FIXED)
    await scene.create("capped", job_id=CAPPED)
    end = job_service_pb2.TerminateJobsRequest(items=[job_service_pb2.TerminateJobsRequest.Item(id=ENDED)])
    await scene.ask("JobService.TerminateJobs", end, job_service_pb2.TerminateJobsResponse)


async def _say_nothing(scene: Scene) -> Outcome:
    call = scene.open("JobService.CreateJobs", scene.metadata("owner"))
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return outcome_of(error)
    return Outcome(code=(await call.code()).name)
