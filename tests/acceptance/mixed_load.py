"""Everything that changes something, at once and without end, and a ledger of what the server said about it.

A call whose answer was lost is neither done nor not done: it is kept, and repeated with the same request id by whoever
connects next. What was acknowledged must be found in the log, once, whatever happened to the server in between.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, worker_service_pb2
from tests.acceptance.callers import DETAILS_KEY, Caller, duration, extension, outcome_of, type_of
from tests.acceptance.scripted_worker import HELD, ScriptedWorker, StreamOver

T = TypeVar("T")

CREATORS = 3
BULK = 20
EXTENDERS = 3
TERMINATORS = 1
SLOTS = 8
SETTLING = "_settle_unknown"
ENDS = {"succeeded": "JobTerminated", "failed": "AttemptFailed", "released": "AttemptReleased"}


class Unknown(Exception):
    """The answer was lost; it may have been done."""


class Refused(Exception):
    """The server has said no."""


@dataclass
class Ledger:
    """What was asked and what was answered."""

    created: dict[str, list[str]] = field(default_factory=dict)
    creating: dict[str, int] = field(default_factory=dict)
    extended: dict[str, tuple[str, int]] = field(default_factory=dict)
    extending: dict[str, tuple[str, int]] = field(default_factory=dict)
    terminated: set[str] = field(default_factory=set)
    terminating: dict[str, str] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    ending: dict[str, tuple[worker_service_pb2.Assignment, str]] = field(default_factory=dict)

    @property
    def job_ids(self) -> list[str]:
        """Acknowledged jobs."""
        return [job_id for ids in self.created.values() for job_id in ids]

    def acknowledged(self) -> int:
        """How much was acknowledged."""
        return sum(len(one) for one in (self.created, self.extended, self.terminated, self.started, self.ended))


def specification() -> job_pb2.JobSpecification:
    """A job that lasts as long as nobody ends it."""
    return job_pb2.JobSpecification(command="true", time_allocation=duration(36_000), heartbeat_interval=duration(600))


class MixedLoad:
    """Clients and one worker with several slots; all randomness is from `generator`."""

    def __init__(self, generator: random.Random, token: str) -> None:
        self.ledger = Ledger()
        self._random = generator
        self._token = token
        self._number = 0
        self._caller: Caller | None = None
        self._worker: ScriptedWorker | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._gone = False

    async def connect(self, address: str) -> None:
        """Talk to the server that is there now: first about what stayed unknown, then about more."""
        self._gone = False
        self._caller = Caller(address, self._token)
        old, self._worker = self._worker, ScriptedWorker(address, self._token, "machine", _now_us, slots=SLOTS)
        if old is not None:
            self._worker.held = old.held
            await old.close()
        self._tasks = [
            asyncio.get_running_loop().create_task(self._until_unknown(work), name=work.__name__)
            for work in (
                self._settle_unknown,
                self._work,
                *[self._create] * CREATORS,
                self._create_many,
                *[self._extend] * EXTENDERS,
                *[self._terminate] * TERMINATORS,
            )
        ]

    def assert_going_on(self) -> None:
        """Nobody has lost the server."""
        ended = [task for task in self._tasks if task.done() and task.get_name() != SETTLING]
        assert not ended, ended

    async def disconnected(self) -> None:
        """Wait until everybody has noticed that the server is gone."""
        self._gone = True
        _, pending = await asyncio.wait(self._tasks, timeout=45)
        assert not pending, pending
        await asyncio.gather(*self._tasks)
        await self.close()

    async def quiet(self, address: str) -> None:
        """Connect once more, only to learn what is still unknown."""
        self._caller = Caller(address, self._token)
        worker = self._worker
        assert worker is not None
        self._worker = ScriptedWorker(address, self._token, "machine", _now_us, slots=SLOTS)
        self._worker.held = worker.held
        await worker.close()
        await self._settle_unknown()
        await self._reconnect()
        await self.close()

    async def close(self) -> None:
        """Drop the connections."""
        if self._caller is not None:
            await self._caller.close()
        if self._worker is not None:
            await self._worker.close()

    # --- users --------------------------------------------------------------------------------------------------------

    async def _settle_unknown(self) -> None:
        ledger = self.ledger
        for request_id, count in list(ledger.creating.items()):
            await self._creation(request_id, count)
        for request_id, (job_id, seconds) in list(ledger.extending.items()):
            await self._extension(request_id, job_id, seconds)
        for request_id, job_id in list(ledger.terminating.items()):
            await self._termination(request_id, job_id)
        # A repeat of what was acknowledged long ago is answered as it was then.
        for request_id in self._random.sample(sorted(ledger.created), min(3, len(ledger.created))):
            await self._creation(request_id, len(ledger.created[request_id]))

    async def _create(self) -> None:
        while True:
            await self._creation(self._request_id("create"), 1)

    async def _create_many(self) -> None:
        while True:
            await self._creation(self._request_id("bulk"), BULK)

    async def _extend(self) -> None:
        while True:
            await self._extension(self._request_id("extend"), await self._any_job(), self._random.randrange(1, 100))
            await asyncio.sleep(0)

    async def _terminate(self) -> None:
        while True:
            await self._termination(self._request_id("end"), await self._any_job())
            await asyncio.sleep(0.002)

    async def _creation(self, request_id: str, count: int) -> None:
        self.ledger.creating[request_id] = count
        response = await _answer(self._user.create_many([specification()] * count, request_id=request_id))
        self.ledger.creating.pop(request_id, None)
        ids = [item.id for item in response.responses]
        assert len(ids) == count
        assert self.ledger.created.setdefault(request_id, ids) == ids, f"{request_id} was answered differently before"

    async def _extension(self, request_id: str, job_id: str, seconds: int) -> None:
        self.ledger.extending[request_id] = job_id, seconds
        try:
            await _answer(self._user.extend_many([extension(job_id, seconds)], request_id=request_id))
            self.ledger.extended[request_id] = job_id, seconds
        except Refused:
            pass  # the job has ended
        self.ledger.extending.pop(request_id, None)

    async def _termination(self, request_id: str, job_id: str) -> None:
        self.ledger.terminating[request_id] = job_id
        await _answer(self._user.terminate(job_id, request_id=request_id))
        self.ledger.terminating.pop(request_id, None)
        self.ledger.terminated.add(job_id)

    @property
    def _user(self) -> Caller:
        assert self._caller is not None
        return self._caller

    def _request_id(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._number}"

    async def _any_job(self) -> str:
        """One of those made lately, once there is one; Unknown when the server has gone before there was."""
        while not self.ledger.created:
            if self._gone:
                raise Unknown("the server has gone")
            await asyncio.sleep(0.005)
        recent = list(self.ledger.created)[-20:]
        return self._random.choice(self.ledger.created[self._random.choice(recent)])

    # --- the worker ---------------------------------------------------------------------------------------------------

    @property
    def _machine(self) -> ScriptedWorker:
        assert self._worker is not None
        return self._worker

    async def _reconnect(self) -> None:
        """Name what it holds, and report again what was not acknowledged."""
        worker, ledger = self._machine, self.ledger
        held = {lease_id: one.assignment for lease_id, one in worker.held.items()}
        held |= {lease_id: assignment for lease_id, (assignment, _) in ledger.ending.items()}
        await worker.connect(leases=held.values())
        for assignment, kind in list(ledger.ending.values()):
            await self._end(assignment, kind)

    async def _work(self) -> None:
        await self._reconnect()
        async with asyncio.TaskGroup() as group:
            for one in list(self._machine.held.values()):
                group.create_task(self._live(one.assignment))
            while True:
                group.create_task(self._live(await self._machine.assignment(within_s=60)))

    async def _live(self, assignment: worker_service_pb2.Assignment) -> None:
        worker, lease_id = self._machine, assignment.lease_id
        if lease_id not in worker.held and (await worker.accept(assignment)).state != HELD:
            return
        if lease_id not in self.ledger.started:
            if (await worker.start(assignment)).state != HELD:
                await worker.stopped(assignment)
                return
            self.ledger.started.add(lease_id)
        await asyncio.sleep(self._random.uniform(0, 0.02))
        if (await worker.beat(assignment)).state != HELD:
            await worker.stopped(assignment)
            return
        await self._end(assignment, self._random.choice(["succeeded", "succeeded", "failed", "released"]))

    async def _end(self, assignment: worker_service_pb2.Assignment, kind: str) -> None:
        lease_id = assignment.lease_id
        self.ledger.ending[lease_id] = assignment, kind
        match kind:
            case "succeeded":
                answer = await self._machine.succeed(assignment)
            case "failed":
                answer = await self._machine.fail(assignment, exit_code=1)
            case _:
                answer = await self._machine.release(assignment, "drill")
        self.ledger.ending.pop(lease_id, None)
        if answer.state == HELD:
            self.ledger.ended[lease_id] = kind
        else:
            await self._machine.stopped(assignment)

    # --- the inside ---------------------------------------------------------------------------------------------------

    async def _until_unknown(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (Unknown, StreamOver):
            pass
        except ExceptionGroup as errors:
            _, others = errors.split((Unknown, StreamOver))
            if others is not None:
                raise others from None

    def check(self, events: list[event_pb2.Event], jobs: dict[str, job_pb2.Job]) -> None:
        """Everything that was acknowledged is in the log, once; `jobs` are the answers about some of them."""
        ledger = self.ledger
        by_request: dict[str, list[event_pb2.Event]] = {}
        by_lease: dict[str, set[str]] = {}
        granted: Counter[str] = Counter()
        final: dict[str, event_pb2.Event] = {}
        for event in events:
            if event.request_id:
                by_request.setdefault(event.request_id, []).append(event)
            if event.HasField("job_extended"):
                granted[event.stream] += event.job_extended.requested_time.seconds
            if event.HasField("job_terminated"):
                final[event.stream] = event
            lease_id = getattr(getattr(event, event.WhichOneof("payload") or ""), "lease_id", "")
            if lease_id:
                by_lease.setdefault(lease_id, set()).add(type_of(event))
        for request_id, ids in ledger.created.items():
            made = [event.stream for event in by_request.get(request_id, [])]
            assert made == [f"job/{job_id}" for job_id in ids], f"{request_id}: {made} instead of {ids}"
        for request_id, count in ledger.creating.items():
            assert len(by_request.get(request_id, [])) in (0, count), request_id
        for request_id, (job_id, seconds) in ledger.extended.items():
            granting = [
                (event.stream, event.job_extended.requested_time.seconds) for event in by_request.get(request_id, [])
            ]
            assert granting == [(f"job/{job_id}", seconds)], f"{request_id}: {granting}"
        assert all(f"job/{job_id}" in final for job_id in ledger.terminated)
        for lease_id in ledger.started:
            assert "JobStarted" in by_lease.get(lease_id, set()), f"the start under {lease_id} is lost"
        assigned = {event.event_id: event.stream for event in events if event.HasField("job_assigned")}
        for lease_id, kind in ledger.ended.items():
            if kind == "succeeded":
                assert assigned.get(lease_id) in final, f"the success under {lease_id} is lost"
            else:
                assert ENDS[kind] in by_lease.get(lease_id, set()), f"{kind} under {lease_id} is lost"
        for job_id, job in jobs.items():
            assert job.status.granted_extension.seconds == granted[f"job/{job_id}"], job_id
            assert (outcome_of(job) != "UNSPECIFIED") == (f"job/{job_id}" in final), job_id


async def _answer(call: Awaitable[T]) -> T:
    """The answer of a call.

    Raises:
        Unknown: there was none.
        Refused: the server refused it.
    """
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        said = any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())
        if said and error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
            raise Refused(error.details()) from None
        raise Unknown(f"{error.code()}: {error.details()}") from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        if task.cancelling():
            raise
        raise Unknown("the connection was closed") from None


def _now_us() -> int:
    return time.time_ns() // 1000
