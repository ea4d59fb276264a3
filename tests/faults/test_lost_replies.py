"""Replies that are lost after the request was carried out: whoever asks again with the same request id changes nothing.

Clients, workers and those who watch talk to the server through a proxy that hangs up between request and reply, in the
middle of either, delays, stalls and half closes. Every request is repeated until it is acknowledged; what is counted is
the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc.aio
import pytest

from tenure.agent.app import SuspendAwareClock
from tenure.agent.transport import GrpcTransport
from tenure.client import Client, RetryPolicy, TenureError
from tenure.client.channel import OPTIONS
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, job_service_pb2
from tests.acceptance.callers import Caller, duration, extension
from tests.acceptance.processes import Launch, ServerProcess
from tests.acceptance.waiting import eventually
from tests.faults.agents import Commands, Journal, agents
from tests.faults.follower import Follower, follower
from tests.faults.mischief import mischief
from tests.faults.scene import together, wrong_with
from tests.faults.warm import warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

T = TypeVar("T")

REQUESTS = size(short=400, full=30_000)
CONTROL_REQUESTS = 200
CLIENTS = 16
WATCHERS = 4
WORKERS = 2
BULK = 5
RATE = 0.03
TIMEOUT_S = 1.0
# A reply that is lost whole is repeated by the client itself, this often; after that by whoever called.
RETRY = RetryPolicy(attempts=3, initial_s=0.02, maximum_s=0.1)
LATE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
ANSWERED_S = 60.0
QUIET_S = 120.0
# An extension may come after the end.
REFUSALS = frozenset({"JOB_FINAL"})
# Jobs here are served by nobody: they wait to be extended and ended.
PARKED = "parked"


@dataclass
class Ledger:
    """What was acknowledged, by request id; `repeats` counts requests that were sent again."""

    created: dict[str, list[str]] = field(default_factory=dict)
    extended: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    parked: list[str] = field(default_factory=list)
    repeats: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """Requests that were answered with an OK."""
        return len(self.created) + len(self.extended) + len(self.ended)

    @property
    def answered(self) -> int:
        """Requests that were answered."""
        return self.acknowledged + len(self.refused)


@dataclass
class Told:
    """What came of it."""

    ledger: Ledger = field(default_factory=Ledger)
    tricks: int = 0
    played: dict[str, int] = field(default_factory=dict)
    drops: int = 0
    duplicates: int = 0
    violations: list[str] = field(default_factory=list)


async def test_lost_replies(tmp_path: Path) -> None:
    began = time.monotonic()
    with warm() as family:
        forgetful = family.launching(plants=["forgets_requests"])
        told, control = await together(
            _run(tmp_path / "proof", family.launch, requests=REQUESTS),
            _run(tmp_path / "control", forgetful, requests=CONTROL_REQUESTS),
        )
    if told.duplicates:
        told.violations.append(f"{told.duplicates} requests were carried out more than once")
    settle(
        Proof(
            name="lost-replies",
            promise="A request that is repeated until it is answered is carried out once; who watches misses nothing.",
            fault="A seeded proxy delays, stalls, half closes and hangs up between request and reply and within both.",
            runs=told.ledger.answered,
            faults=told.tricks,
            acknowledged=told.ledger.acknowledged,
            violations=told.violations,
            figures={
                "requests sent again by their callers": told.ledger.repeats,
                "requests carried out twice": told.duplicates,
                "connections lost by those who watch": told.drops,
                **{f"played: {trick}": times for trick, times in sorted(told.played.items())},
            },
            control=f"a server that forgets requests carried {control.duplicates} out twice",
            bites=control.duplicates > 0,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _run(directory: Path, launch: Launch, *, requests: int) -> Told:
    told = Told()
    server = ServerProcess(directory, more=["--log-level", "warning"])
    server.launch = launch
    journal, commands = Journal(directory / "journal", SuspendAwareClock(), every_s=60), Commands()
    commands.end()  # whatever is given out has done its work already
    try:
        await server.up()
        token = server.admin_token()
        caller = Caller(server.address, token)
        async with mischief(server.address, first_seed() << 32, rate=RATE) as proxy:
            transport = GrpcTransport(address=proxy.address, token=lambda: token)
            workers = [(f"worker-{number}", 4) for number in range(WORKERS)]
            async with agents(workers, transport, journal, commands), contextlib.AsyncExitStack() as stack:
                watchers = [
                    await stack.enter_async_context(follower(proxy.address, token, jobs_only=number % 2 > 0))
                    for number in range(WATCHERS)
                ]
                for watcher in watchers:
                    await asyncio.wait_for(watcher.ready.wait(), 30)
                async with asyncio.TaskGroup() as group:
                    for number in range(CLIENTS):
                        user = _User(f"c{number}", proxy.address, token, told.ledger, requests)
                        group.create_task(user.run())
                proxy.behave()
                await _all_ended(watchers[0], told)
                for watcher in watchers:
                    told.violations += await watcher.caught_up(caller, within_s=QUIET_S)
                    told.drops += watcher.drops
            told.tricks, told.played = proxy.faults, dict(proxy.played)
        _judge(await caller.events(), told)
        await caller.close()
    except BaseException as error:
        error.add_note(f"seed {first_seed()}; the server's log ends with:\n{server.tail()}")
        raise
    finally:
        journal.close()
        server.close()
    return told


class _User:
    """Asks for one thing after the other, each until it is answered."""

    def __init__(self, name: str, address: str, token: str, ledger: Ledger, requests: int) -> None:
        self._name = name
        # A connection of its own: what is done to it is not done to others.
        channel = grpc.aio.insecure_channel(address, options=(*OPTIONS, ("grpc.use_local_subchannel_pool", 1)))
        self._client = Client(token=token, timeout_s=TIMEOUT_S, retry=RETRY, channel=channel)
        self._ledger = ledger
        self._requests = requests
        self._random = random.Random(f"{first_seed()}-{name}")
        self._number = 0

    async def run(self) -> None:
        """Until there were enough requests of all users."""
        async with self._client:
            while self._ledger.answered < self._requests:
                await self._random.choice([self._create, self._create, self._extend, self._extend, self._end])()

    async def _create(self) -> None:
        parked = self._random.random() < 0.7
        job = job_pb2.JobSpecification(
            command="true",
            queue=PARKED if parked else "",
            time_allocation=duration(36_000),
            heartbeat_interval=duration(30),
        )
        ids = await self._creation(self._request_id(), [job] * self._random.choice([1, 1, BULK]))
        if parked:
            self._ledger.parked += ids or []
        # What was acknowledged long ago is answered as it was then.
        if self._random.random() < 0.1:
            old, known = self._random.choice(list(self._ledger.created.items()))
            if any(job_id in self._ledger.parked for job_id in known):
                job.queue = PARKED
            else:
                job.ClearField("queue")
            again = await self._creation(old, [job] * len(known))
            if again != known:
                self._ledger.wrong.append(f"{old} was answered {known}, then {again}")

    async def _creation(self, request_id: str, jobs: list[job_pb2.JobSpecification]) -> list[str] | None:
        response = await self._until_answered(request_id, lambda: self._client.create_jobs(jobs, request_id=request_id))
        if response is None:
            return None
        return self._ledger.created.setdefault(request_id, [item.id for item in response.responses])

    async def _extend(self) -> None:
        if not self._ledger.parked:
            return
        job_id, request_id = self._random.choice(self._ledger.parked), self._request_id()
        item = extension(job_id, self._random.randrange(1, 100))
        if await self._until_answered(request_id, lambda: self._client.extend_jobs([item], request_id=request_id)):
            self._ledger.extended[request_id] = job_id

    async def _end(self) -> None:
        if len(self._ledger.parked) < CLIENTS:
            return
        job_id, request_id = self._random.choice(self._ledger.parked), self._request_id()
        item = job_service_pb2.TerminateJobsRequest.Item(id=job_id)
        if await self._until_answered(request_id, lambda: self._client.terminate_jobs([item], request_id=request_id)):
            self._ledger.ended[request_id] = job_id

    async def _until_answered(self, request_id: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Ask until there is an answer; None: it was refused."""
        give_up = time.monotonic() + ANSWERED_S
        while True:
            try:
                return await ask()
            except TenureError as error:
                if error.code not in LATE:
                    self._ledger.refused.add(request_id)
                    if error.reason not in REFUSALS:
                        self._ledger.wrong.append(f"{request_id} was refused: {error}")
                    return None
                if time.monotonic() > give_up:
                    raise AssertionError(f"{request_id} was not answered within {ANSWERED_S} s") from error
            self._ledger.repeats += 1

    def _request_id(self) -> str:
        self._number += 1
        return f"{self._name}-{self._number}"


async def _all_ended(watcher: Follower, told: Told) -> None:
    """What was given out has been done, and is known to have been."""

    async def ended() -> bool:
        await asyncio.sleep(0.1)
        events = watcher.events
        final = {event.stream for event in events if event.HasField("job_terminated")}
        served = {
            event.stream for event in events if event.HasField("job_created") and event.job_created.queue != PARKED
        }
        return served <= final

    try:
        await eventually(ended, "the end of all jobs that were given out", within_s=QUIET_S)
    except AssertionError:
        told.violations.append("some jobs that were given out never ended")


def _judge(events: list[event_pb2.Event], told: Told) -> None:
    """Each acknowledged request is in the log once, and so is each that was not."""
    ledger = told.ledger
    told.violations += ledger.wrong + wrong_with(events)
    by_request: dict[str, list[event_pb2.Event]] = {}
    for event in events:
        # The first job that names a queue makes it, in the same commit.
        if event.request_id and event.stream.startswith("job/"):
            by_request.setdefault(event.request_id, []).append(event)
    for request_id, ids in ledger.created.items():
        made = [event.stream.removeprefix("job/") for event in by_request.get(request_id, [])]
        told.duplicates += len(made) > len(ids)
        if made[: len(ids)] != ids and len(made) <= len(ids):
            told.violations.append(f"{request_id} was answered {ids}, and the log has {made}")
    for request_id, job_id in ledger.extended.items():
        made = [event.stream.removeprefix("job/") for event in by_request.get(request_id, [])]
        told.duplicates += len(made) > 1
        if made[:1] != [job_id]:
            told.violations.append(f"{request_id} extended {job_id}, and the log has {made}")
    final = {event.stream for event in events if event.HasField("job_terminated")}
    for request_id, job_id in ledger.ended.items():
        if f"job/{job_id}" not in final:
            told.violations.append(f"{request_id} ended {job_id}, and it goes on")
    for request_id in ledger.refused:
        if by_request.get(request_id):
            told.violations.append(f"{request_id} was refused, and the log has something of it")
