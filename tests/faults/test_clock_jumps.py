"""The machine's wall clock jumps, by hours, days and centuries, under leases that beat and time limits that run.

Server and workers live under libfaketime, whose file is written anew for every jump; their monotonic clocks are left
alone, as on a machine whose clock is set.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.callers import type_of
from tests.acceptance.processes import Launch
from tests.faults.follower import Follower, follower
from tests.faults.hosts import idle, quantiles, running, seconds, stories
from tests.faults.scene import Scene, scene, wall_offset_s, wrong_with
from tests.faults.warm import Warm, warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, first_seed, size
from tests.proof.tools import faketime_library

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

JUMPS = size(short=15, full=1000)
CONTROL_JUMPS = 100 if FULL else 15
JUMP_EVERY_S = 0.25 if FULL else 0.1
# No worker has so many leases that its loss is taken for a fault of the server's, and half of the slots are enough.
HOSTS, SLOTS, JOBS = (12, 6, 30) if FULL else (4, 3, 4)
CONTROL_HOSTS, CONTROL_JOBS = 2, 2
# Long enough, where there is time, that no worker loses its lease because the machine is busy with other things.
LEASE_S = 6.0 if FULL else 3.0
# After so many jumps a worker is killed, as long as there are enough, and a job with a time limit is made.
KILL_EVERY = 100 if FULL else 10
ALLOCATION_S = 2.0
# For a machine that is busy with other things, as it is while all tests run.
BUSY_S = 1.0 if FULL else 10.0
# The server takes a clock that is ahead of its own for right by no more than a second a minute.
CORRECTION = 1 / 60
WITHIN_S = 60.0

PLACES = ("+2h", "-2h", "+3d", "-3d", "+1s", "-1s", "+0")
DATES = ("@1970-01-01 00:00:01", "@2038-01-19 03:14:07", "@2016-12-31 23:59:59", "@9999-12-31 12:00:00")


class JumpingClock:
    """The wall clock of whoever is started with this environment."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self.jumps = 0
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self._set("+0")

    def jump(self, generator: random.Random) -> None:
        """Set it to somewhere else."""
        self._set(generator.choice([place for place in PLACES + DATES if place != self._place]))
        self.jumps += 1

    def _set(self, place: str) -> None:
        self._place = place
        new = self._file.with_suffix(".new")
        new.write_text(place + "\n")
        os.replace(new, self._file)


@dataclass
class Told:
    """What came of the jumps."""

    jumps: int = 0
    killed: dict[str, float] = field(default_factory=dict)
    victims: set[str] = field(default_factory=set)
    noticed_s: list[float] = field(default_factory=list)
    ran_s: list[float] = field(default_factory=list)
    events: int = 0
    braked: int = 0
    clock_off_s: float = 0
    violations: list[str] = field(default_factory=list)


async def test_clock_jumps(tmp_path: Path) -> None:
    began = time.monotonic()
    clock = JumpingClock(tmp_path / "clock", faketime_library())
    with warm(env=clock.environment) as family:
        ready = asyncio.Barrier(3)
        async with asyncio.TaskGroup() as group:
            jumping = group.create_task(_jump(clock, ready))
            proof = group.create_task(_run(tmp_path / "proof", family.launch, family, clock, ready, jumps=JUMPS))
            naive = _run(
                tmp_path / "control",
                family.launching(plants=["leases_by_wall_clock", "no_brake"]),
                family,
                clock,
                ready,
                jumps=CONTROL_JUMPS,
                hosts=CONTROL_HOSTS,
                jobs=CONTROL_JOBS,
                patience_s=1,
            )
            control = group.create_task(naive)
            told, missed = await proof, await control
            jumping.cancel()
    settle(
        Proof(
            name="clock-jumps",
            promise="A jump of the wall clock ends no lease, keeps none alive, and moves no time limit.",
            fault=(
                f"libfaketime: the clock of server and workers set to {', '.join(PLACES)}, 1970, 2016, 2038 and 9999 "
                f"every {JUMP_EVERY_S} s; a worker killed now and then."
            ),
            runs=told.jumps,
            faults=told.jumps + len(told.killed),
            acknowledged=told.events,
            violations=told.violations,
            figures={
                "leases of killed workers": len(told.killed),
                "expiries held back as a fault of the server's": told.braked,
                "killed to noticed, least / median / p99 / most (s)": quantiles(told.noticed_s),
                f"run of jobs with {ALLOCATION_S} s, least / median / p99 / most (s)": quantiles(told.ran_s),
                "times of events off by at most (s)": round(told.clock_off_s, 3),
            },
            control=f"with leases on the wall clock {len(missed.violations)} violations, such as a lease that expired",
            bites=bool(missed.violations),
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _jump(clock: JumpingClock, ready: asyncio.Barrier) -> None:
    """Jump, again and again, once everything runs."""
    generator = random.Random(first_seed())
    await ready.wait()
    while True:
        await asyncio.sleep(JUMP_EVERY_S)
        clock.jump(generator)


async def _run(
    directory: Path,
    server: Launch,
    family: Warm,
    clock: JumpingClock,
    ready: asyncio.Barrier,
    *,
    jumps: int,
    hosts: int = HOSTS,
    jobs: int = JOBS,
    patience_s: float = 20.0,
) -> Told:
    """Live through so many jumps, losing workers and running jobs with a time limit all the while."""
    told, env = Told(), clock.environment
    async with (
        scene(directory, server, family.launch, hosts=hosts, slots=SLOTS, jobs=jobs, lease_s=LEASE_S, env=env) as here,
        follower(here.server.address, here.server.admin_token()) as follow,
    ):
        await ready.wait()
        began_s, before = time.monotonic(), clock.jumps
        kills = 0
        while clock.jumps - before < jumps:
            if (clock.jumps - before) // KILL_EVERY >= kills:
                kills += 1
                await here.caller.create(idle(heartbeat_s=LEASE_S / 2, allocation_s=ALLOCATION_S))
                if kills <= hosts // 2:
                    await _kill_one(here, told)
            await asyncio.sleep(JUMP_EVERY_S / 2)
        await _until_settled(follow, told, patience_s)
        told.violations += await follow.caught_up(here.caller)
        told.jumps = clock.jumps - before
        told.braked = here.server.output().count("leases_held")
        _judge(follow, told, time.monotonic() - began_s)
    return told


async def _kill_one(here: Scene, told: Told) -> None:
    """A worker is gone for good; its leases must not live on."""
    live = running(await here.caller.events())
    victim = next(host for host in here.hosts if host.running)
    victim.kill()
    told.victims.add(victim.name)
    now_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    told.killed |= {story.lease_id: now_s for story in live.values() if story.worker_id == victim.name}


async def _until_settled(follow: Follower, told: Told, patience_s: float) -> None:
    """Give the last leases and time limits their time to run out."""
    give_up = time.monotonic() + max(LEASE_S, ALLOCATION_S) + patience_s
    while time.monotonic() < give_up:
        known = stories(follow.events)
        lost = all(lease_id in known and known[lease_id].over_s is not None for lease_id in told.killed)
        if lost and len(_ends(follow)) == _limited(follow):
            return
        await asyncio.sleep(0.05)


def _judge(follow: Follower, told: Told, lasted_s: float) -> None:
    events, known = follow.events, stories(follow.events)
    told.events = len(events)
    told.violations += wrong_with(events, LEASE_S)
    came = {event.event_id: at_s for at_s, event in follow.came}
    for story in known.values():
        if story.lost_s is not None and story.worker_id not in told.victims:
            told.violations.append(f"{story.job_id}: its lease expired, and its worker lived")
        elif story.over_s is None and story.worker_id in told.victims:
            told.violations.append(f"{story.job_id}: its lease lives on, and its worker was killed")
    for event in events:
        if event.HasField("lease_expired") and event.lease_expired.lease_id in told.killed:
            told.noticed_s.append(came[event.event_id] - told.killed[event.lease_expired.lease_id])
    # A server that was late itself, or lost too many at once, has given all leases their time again.
    noticed_s = LEASE_S + 1 + BUSY_S + (LEASE_S + 1) * told.braked
    told.violations += [f"noticed after {s:.1f} s" for s in told.noticed_s if s > noticed_s]
    ends = _ends(follow)
    if len(ends) != _limited(follow):
        told.violations.append(f"{len(ends)} of {_limited(follow)} jobs with a time limit have ended at it")
        for event in events:
            if event.job_created.terms.HasField("time_allocation") and event.stream not in ends:
                types = [type_of(one) for one in events if one.stream == event.stream]
                told.violations.append(f"{event.stream}: {', '.join(types)}")
    told.ran_s = list(ends.values())
    early_s = ALLOCATION_S * (1 - CORRECTION) - 0.1 - 1
    told.violations += [f"a job of {ALLOCATION_S} s ended after {s:.1f} s" for s in told.ran_s if s < early_s]
    told.violations += [f"a job of {ALLOCATION_S} s ran {s:.1f} s" for s in told.ran_s if s > ALLOCATION_S + 1 + BUSY_S]
    told.violations += _times(follow, told, lasted_s)


def _limited(follow: Follower) -> int:
    return sum(event.job_created.terms.HasField("time_allocation") for event in follow.events)


def _ends(follow: Follower) -> dict[str, float]:
    """For how long the jobs with a time limit that have expired ran, by what came."""
    started: dict[str, float] = {}
    ran: dict[str, float] = {}
    for at_s, event in follow.came:
        if event.HasField("job_started"):
            started.setdefault(event.stream, at_s)
        elif event.HasField("job_terminated") and event.stream in started:
            ran[event.stream] = at_s - started[event.stream]
    return ran


def _times(follow: Follower, told: Told, lasted_s: float) -> list[str]:
    """The times of events never step back, and stay near those of a clock that did not jump."""
    wrong, offset_s = [], wall_offset_s()
    before: dict[str, float] = {}
    for at_s, event in follow.came:
        time_s = seconds(event)
        if time_s < before.get(event.stream, 0.0):
            wrong.append(f"{event.stream}: {type_of(event)} is earlier than what came before it")
        before[event.stream] = time_s
        if at_s > follow.since_s + 1:  # those of before came late
            told.clock_off_s = max(told.clock_off_s, abs(at_s + offset_s - time_s))
    if told.clock_off_s > BUSY_S + 1 + lasted_s * CORRECTION:
        wrong.append(f"times of events are off by {told.clock_off_s:.1f} s")
    return wrong
