"""A real server with its web door, and people and machines who send it bad things, byte by byte.

Everything crosses a socket of the loopback address.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tenure.cli.door import DoorSettings, open_door
from tenure.controlplane.app import ControlPlane
from tenure.controlplane.permissions import RULES
from tenure.runtime.clock import SystemClock
from tenure.runtime.ids import Uuid7Ids
from tenure.web.app import Door
from tenure.web.serving import address_of, bind
from tests.controlplane.harness import RunningServer, running_server
from tests.controlplane.hosted import OURS
from tests.fakes import SequenceIds
from tests.hostile.outcome import Outcome, outcome_of, outcome_of_response

PATIENCE_S = 20.0

# Jobs that are there from the beginning, all of the user `owner`.
STANDING = "standing"  # waits for ever in a queue without workers; has five hours
ENDED = "ended"  # was cancelled
ENDLESS = "endless"  # has no time allocation
FIXED = "fixed"  # its queue does not support extension
CAPPED = "capped"  # its queue allows six hours

NOBODY = "nobody"

# What the client says when a call was ended while it sent something: how, is lost, so it is asked again.
LOST_IN_CLIENT = "Internal error from Core"
Ending = grpc.aio.StreamStreamCall[bytes, bytes] | grpc.aio.UnaryStreamCall[bytes, bytes]

# What is sent: bytes, a message, or one in the words of JSON.
Sent = bytes | Message | dict[str, Any]

METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}.{method.name}": method for service in OURS for method in service.methods
}


def raw_of(rpc: str, sent: Sent) -> bytes:
    """The bytes of a request."""
    if isinstance(sent, bytes):
        return sent
    if isinstance(sent, Message):
        return sent.SerializeToString()
    return json_format.ParseDict(sent, GetMessageClass(METHODS[rpc].input_type)()).SerializeToString()


def path_of(rpc: str) -> str:
    """Where an RPC is called."""
    return rpc if rpc.startswith("/") else f"/tenure.v1.{rpc.replace('.', '/')}"


def caller_of(rpc: str) -> str:
    """Somebody who may call an RPC, and no more than needed."""
    method = METHODS.get(rpc)
    roles = RULES[method.containing_service.full_name][method.name] if method is not None else ["user"]
    return "owner" if "user" in roles else "worker" if "worker" in roles else "admin"


class Wire:
    """Everybody's tokens, and one gRPC channel for all of them."""

    def __init__(self, channel: grpc.aio.Channel, tokens: dict[str, str] | None = None) -> None:
        self.channel = channel
        self.tokens = tokens or {}

    def metadata(self, who: str) -> tuple[tuple[str, str], ...]:
        """The credentials of somebody."""
        return () if who == NOBODY else (("authorization", f"Bearer {self.tokens[who]}"),)

    def open(
        self, rpc: str, metadata: Iterable[tuple[str, str | bytes]], within_s: float | None = PATIENCE_S
    ) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """An open call of any RPC, as `JobService.CreateJobs`, or of a path; bytes go in and out as they are."""
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(
            path_of(rpc), request_serializer=None, response_deserializer=None
        )
        return method(metadata=tuple(metadata), timeout=within_s)

    async def call(
        self,
        rpc: str,
        *sent: Sent,
        who: str = "",
        extra: Iterable[tuple[str, str | bytes]] = (),
        within_s: float | None = PATIENCE_S,
    ) -> Outcome:
        """Send these messages and no more, and read to the end. `who` is left out: somebody who may."""
        raw = [raw_of(rpc, message) for message in sent]
        metadata = (*self.metadata(who or caller_of(rpc)), *extra)
        while (outcome := await self._call(rpc, raw, metadata, within_s)).message == LOST_IN_CLIENT:
            pass
        return outcome

    async def _call(
        self, rpc: str, raw: list[bytes], metadata: tuple[tuple[str, str | bytes], ...], within_s: float | None
    ) -> Outcome:
        if len(raw) == 1:
            # What is sent at once cannot be overtaken by the answer.
            once: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(
                path_of(rpc), request_serializer=None, response_deserializer=None
            )
            return await _end_of(once(raw[0], metadata=metadata, timeout=within_s))
        call = self.open(rpc, metadata, within_s)
        try:
            for message in raw:
                await call.write(message)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # it has ended already; how, is read next
        return await _end_of(call)

    async def ask(self, rpc: str, sent: Sent, *, who: str = "") -> Any:
        """A call that goes well, and its answer."""
        outcome = await self.call(rpc, sent, who=who)
        assert outcome.code == "OK", outcome
        return GetMessageClass(METHODS[rpc].output_type).FromString(outcome.answers[0])


class Scene(Wire):
    """The server and all who talk to it, over gRPC or HTTP."""

    def __init__(
        self, server: RunningServer, ids: SequenceIds, channel: grpc.aio.Channel, client: httpx.AsyncClient
    ) -> None:
        super().__init__(channel)
        self.server = server
        self.plane = server.plane
        self.http = client
        self.silent: asyncio.Task[Outcome] | None = None
        self._ids = ids
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

    async def request(self, verb: str, path: str, *, who: str = "owner", **more: Any) -> Outcome:
        """A request to the web door."""
        headers = [*self.metadata(who), *more.pop("headers", ())]
        return outcome_of_response(await self.http.request(verb, path, headers=headers, **more))

    async def is_well(self) -> bool:
        """The next good call works."""
        return (await self.call("JobService.RetrieveJob", {"id": STANDING})).code == "OK"

    async def create(self, queue: str, *, job_id: str = "", hours: int = 5, **changes: Any) -> str:
        """A job in a queue; `job_id` is the id it gets."""
        if job_id:
            self._ids.then(job_id)
        # An hour between two beats: nothing runs out while a test runs.
        specification = {"command": "true", "queue": queue, "heartbeat_interval": "3600s", **changes}
        if hours:
            specification["time_allocation"] = f"{hours * 3600}s"
        response = await self.ask("JobService.CreateJobs", {"items": [{"specification": specification}]})
        return str(response.responses[0].id)


async def _end_of(call: Ending) -> Outcome:
    """Read a call to its end."""
    answers: list[bytes] = []
    try:
        while (answer := await call.read()) is not grpc.aio.EOF:
            assert isinstance(answer, bytes)
            answers.append(answer)
        if await call.code() is not grpc.StatusCode.OK:
            raise await _error_of(call)
    except grpc.aio.AioRpcError as error:
        return outcome_of(error, answers)
    except asyncio.InvalidStateError:
        return outcome_of(await _error_of(call), answers)
    return Outcome(code="OK", answers=tuple(answers))


async def _error_of(call: Ending) -> grpc.aio.AioRpcError:
    initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
    return grpc.aio.AioRpcError(await call.code(), initial, trailing, details=await call.details())


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
        scene = Scene(server, ids, channel, client)
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
    capped = {"name": "capped", "features": {"time_extension": True}, "max_time_allocation": "21600s"}
    plain = {"name": "plain", "features": {"sync": True}}
    await scene.ask("QueueService.UpsertQueues", {"items": [capped, plain]})
    await scene.create("still", job_id=STANDING)
    await scene.create("still", job_id=ENDED)
    await scene.create("still", job_id=ENDLESS, hours=0)
    await scene.create("plain", job_id=FIXED)
    await scene.create("capped", job_id=CAPPED)
    await scene.ask("JobService.TerminateJobs", {"items": [{"id": ENDED}]})


async def _say_nothing(scene: Scene) -> Outcome:
    call = scene.open("JobService.CreateJobs", scene.metadata("owner"))
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return outcome_of(error)
    return Outcome(code=(await call.code()).name)
