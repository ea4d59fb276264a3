"""The server is away for a while under hundreds of leases: none of them expires, and the fleet does not come as a herd.

The workers are the product's agents in this process, over real streams: each with ten slots and idle commands.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tenure.agent.app import SuspendAwareClock
from tenure.agent.transport import GrpcTransport, Stream, StreamEnded
from tenure.v1.worker_service_pb2 import ConnectResponse
from tests.acceptance.callers import Caller, outcome_of
from tests.acceptance.processes import Launch, ServerProcess
from tests.acceptance.waiting import eventually
from tests.faults.agents import Commands, Journal, agents
from tests.faults.hosts import idle, quantiles, running, stories, until_running
from tests.faults.scene import LEASE_S, together, wrong_with
from tests.faults.warm import warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

LEASES = size(short=50, full=500)
SLOTS = 10
DOWN_S = (*[0.5] * 20, *[2.0] * 10, *[10.0] * 3, 30.0, 60.0) if FULL else (1.0,)
# After a start no lease expires for a minute; the full form waits for what would come then.
GRACE_S = 62.0 if FULL else 0.0
CONTROL_LEASES = 10
# The control's workers stay away for longer than a lease: without grace that is too long.
AWAY_S = 1.75 * LEASE_S
REFUSALS = frozenset({"RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION"})


class Fleet:
    """Opens streams for agents, and notes when they are welcomed and how they end; `away`: nobody is let out."""

    def __init__(self, server: ServerProcess) -> None:
        token = server.admin_token()
        self._transport = GrpcTransport(address=server.address, token=lambda: token)
        self.welcomes_s: list[float] = []
        self.ends: Counter[str] = Counter()
        self.at_home = asyncio.Event()
        self.at_home.set()

    async def open(self) -> Stream:
        await self.at_home.wait()
        return _Noted(await self._transport.open(), self)


class _Noted:
    def __init__(self, stream: Stream, fleet: Fleet) -> None:
        self._stream = stream
        self._fleet = fleet
        self._welcomed = False
        self.send = stream.send
        self.finish = stream.finish
        self.close = stream.close

    async def receive(self) -> ConnectResponse:
        try:
            message = await self._stream.receive()
        except StreamEnded as ended:
            self._fleet.ends[ended.code] += 1
            raise
        if not self._welcomed:
            self._welcomed = True
            self._fleet.welcomes_s.append(time.monotonic())
        return message


@dataclass
class Told:
    """What came of the outages."""

    expired: int = 0
    events: int = 0
    back_s: list[float] = field(default_factory=list)
    busiest: int = 0
    refused: int = 0
    violations: list[str] = field(default_factory=list)


async def test_outage(tmp_path: Path) -> None:
    began = time.monotonic()
    with warm() as family:
        no_grace = family.launching(plants=["no_grace"])
        told, control = await together(
            _run(tmp_path / "proof", family.launch, leases=LEASES, down_s=DOWN_S, grace_s=GRACE_S),
            _run(tmp_path / "control", no_grace, leases=CONTROL_LEASES, down_s=(0.5,), away_s=AWAY_S),
        )
    if told.expired:
        told.violations.append(f"{told.expired} leases expired because the server was away")
    times = [f"{seconds} ({number} times)" for seconds, number in Counter(DOWN_S).items()]
    settle(
        Proof(
            name="outage",
            promise="While the server is away everything goes on; when it is back no job has lost its attempt.",
            fault=f"kill -9 of the server; down for {', '.join(times)} s under leases of {LEASE_S:.0f} s.",
            # An outage is one run, however many leases it meets: they have their fate in common.
            runs=len(DOWN_S),
            faults=len(DOWN_S),
            acknowledged=told.events,
            violations=told.violations,
            figures={
                "leases in each outage": LEASES,
                "workers": LEASES // SLOTS,
                "start of the server to the last worker's return, least / median / p99 / most (s)": quantiles(
                    told.back_s
                ),
                "workers that came back in the busiest second": told.busiest,
                "streams refused": told.refused,
            },
            control=f"without grace {control.expired} of {CONTROL_LEASES} leases expired",
            bites=control.expired > 0,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _run(
    directory: Path,
    launch: Launch,
    *,
    leases: int,
    down_s: tuple[float, ...],
    grace_s: float = 0.0,
    away_s: float = 0.0,
) -> Told:
    told = Told()
    server = ServerProcess(directory)
    server.launch = launch
    journal, commands = Journal(directory / "journal", SuspendAwareClock(), every_s=10), Commands()
    try:
        await server.up()
        caller = Caller(server.address, server.admin_token())
        created = await caller.create_many([idle(heartbeat_s=LEASE_S / 2)] * leases)
        fleet = Fleet(server)
        workers = [(f"worker-{number}", SLOTS) for number in range(leases // SLOTS)]
        async with agents(workers, fleet, journal, commands):
            first = await until_running(caller, leases)
            for seconds in down_s:
                caller = await _outage(server, caller, fleet, told, workers=len(workers), down_s=seconds, away_s=away_s)
            await asyncio.sleep(grace_s)
            events = await caller.events()
            told.expired = sum(story.lost_s is not None for story in stories(events).values())
            if not away_s and running(events) != first:
                told.violations.append("some jobs do not run in their first attempt any more")
            commands.end()
            if not away_s:
                await _all_completed(caller, told, [item.id for item in created.responses])
        events = await caller.events()
        told.events, told.refused = len(events), sum(fleet.ends[code] for code in REFUSALS)
        told.violations += wrong_with(events)
        if told.refused:
            told.violations.append(f"{told.refused} streams were refused: {dict(fleet.ends)}")
        await caller.close()
    except BaseException as error:
        error.add_note(f"the server's log ends with:\n{server.tail()}")
        raise
    finally:
        journal.close()
        server.close()
    return told


async def _outage(
    server: ServerProcess, caller: Caller, fleet: Fleet, told: Told, *, workers: int, down_s: float, away_s: float
) -> Caller:
    """Take the server away, bring it back, and wait for the workers; who talks to it now."""
    server.kill()
    await caller.close()
    if away_s:
        fleet.at_home.clear()
    await asyncio.sleep(down_s)
    fleet.welcomes_s.clear()
    await server.up()
    up_s = time.monotonic()
    await asyncio.sleep(away_s)
    fleet.at_home.set()

    async def all_back() -> bool:
        return len(fleet.welcomes_s) >= workers

    await eventually(all_back, "all workers to come back", within_s=60)
    told.back_s.append(max(fleet.welcomes_s) - up_s)
    told.busiest = max(told.busiest, _busiest_second(fleet.welcomes_s))
    return Caller(server.address, server.admin_token())


async def _all_completed(caller: Caller, told: Told, ids: list[str]) -> None:
    """All jobs end well, in their first attempts."""

    async def ended() -> bool:
        events = await caller.events(types=["JobTerminated"])
        return len(events) >= len(ids)

    await eventually(ended, "the end of all jobs", within_s=60)
    for job_id in ids[:: max(1, len(ids) // 20)]:
        job = await caller.job(job_id)
        if outcome_of(job) != "COMPLETED" or job.status.attempt != 1:
            told.violations.append(f"{job_id}: {outcome_of(job)} in attempt {job.status.attempt}")


def _busiest_second(instants_s: list[float]) -> int:
    window: deque[float] = deque()
    most = 0
    for instant in sorted(instants_s):
        window.append(instant)
        while window[0] < instant - 1:
            window.popleft()
        most = max(most, len(window))
    return most
