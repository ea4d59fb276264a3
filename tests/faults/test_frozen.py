"""Workers, and the server, that stand still for longer than a lease and then go on as if nothing had been.

Workers are stopped with SIGSTOP for two leases: they are noticed in time, their jobs go elsewhere, and what they say or
write when they wake counts for nothing. The server is stopped for more than a lease: it must not take its own silence
for that of the workers.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.processes import Launch
from tests.acceptance.waiting import eventually
from tests.faults.hosts import HostProcess, LeaseStory, quantiles, running, stories, until_running
from tests.faults.scene import LEASE_S, Scene, scene, together, wall_offset_s, wrong_with
from tests.faults.warm import Warm, warm
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, first_seed, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

# Promised: noticed within a second.
NOTICED_S = LEASE_S + 1.0
# For a machine that is busy with other things, as it is while all tests run.
BUSY_S = 1.0 if FULL else 10.0
PAUSE_S = 2 * LEASE_S
AGAIN_S = 30.0

PAUSES = size(short=3, full=500)
HOSTS, SLOTS, JOBS = (20, 4, 50) if FULL else (6, 4, 15)
# More leases than three in ten that run out at once are taken for a fault of the server's.
AT_ONCE = max(3, JOBS // 5)
CONTROL_PAUSES = 3
# One lease is held back so often at most.
MOST_BRAKES = 2

SERVER_PAUSES = size(short=1, full=20)
SERVER_PAUSE_S = 1.5 * LEASE_S
# The workers wake so much later, where they stood still too: until then the server hears nothing of them.
LATER_S = 0.2
SERVER_HOSTS = 3
SERVER_JOBS = 10
# A write that was let through the gate just before the pause lands when the worker wakes: so rarely, and no more.
LANDED = 0.01


@dataclass
class Told:
    """What came of the pauses.

    Attributes:
        woken: the leases that were frozen, and when their workers went on (CLOCK_MONOTONIC, seconds).
        silences_s: how long the server had heard nothing when it gave a frozen lease up.
        landed: writes under a lease that was over.
        others: leases that were lost though nobody had touched their workers.
        braked: times that the server held expiries back.
    """

    woken: dict[str, float] = field(default_factory=dict)
    fenced_s: list[float] = field(default_factory=list)
    silences_s: list[float] = field(default_factory=list)
    landed: int = 0
    others: int = 0
    braked: int = 0
    events: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def too_many_landed(self) -> bool:
        """More writes came from beyond the end of their lease than were on their way when the pause began."""
        return self.landed > 1 + len(self.woken) * LANDED


async def test_frozen_workers(tmp_path: Path) -> None:
    began = time.monotonic()
    with warm() as family:
        told, control = await together(
            _freeze_workers(tmp_path, family, family.launch, pauses=PAUSES),
            _freeze_workers(tmp_path / "control", family, family.launching(plants=["no_fence"]), pauses=CONTROL_PAUSES),
        )
    if told.too_many_landed:
        told.violations.append(f"{told.landed} writes to the store under leases that were over")
    settle(
        Proof(
            name="frozen-workers",
            promise=(
                "A worker that stands still is noticed within its lease and a second, its job goes on elsewhere, and "
                "nothing that it says or writes when it wakes counts."
            ),
            fault=f"SIGSTOP of workers for two leases of {LEASE_S:.0f} s, then SIGCONT; one run a lease.",
            runs=len(told.woken),
            faults=len(told.woken),
            acknowledged=told.events,
            violations=told.violations,
            figures={
                "silence when noticed, least / median / p99 / most (s)": quantiles(told.silences_s),
                "from waking to being told, least / median / p99 / most (s)": quantiles(told.fenced_s),
                "writes under a lease that was over": told.landed,
                "leases lost of workers that were not frozen": told.others,
                "expiries held back as a mass loss": told.braked,
            },
            control=f"without the fence {control.landed} writes landed after {len(control.woken)} pauses",
            bites=control.too_many_landed,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _freeze_workers(directory: Path, family: Warm, workers: Launch, *, pauses: int) -> Told:
    told, generator = Told(), random.Random(first_seed())
    async with scene(directory, family.launch, workers, hosts=HOSTS, slots=SLOTS, jobs=JOBS) as here:
        while len(told.woken) < pauses:
            live = await until_running(here.caller, JOBS, within_s=AGAIN_S)
            await _freeze(here, told, _victims(here, generator, list(live.values())))
        await until_running(here.caller, JOBS, within_s=AGAIN_S)
        events = await here.caller.events()
        told.events = len(events)
        told.violations += wrong_with(events)
        told.braked = here.server.output().count("leases_held")
        _judge(told, stories(events), here)
    return told


def _victims(here: Scene, generator: random.Random, live: list[LeaseStory]) -> dict[HostProcess, list[LeaseStory]]:
    """Some hosts with their leases: at least one, and not so many that it looks like a mass loss."""
    chosen: dict[HostProcess, list[LeaseStory]] = {}
    for host in generator.sample(here.hosts, len(here.hosts)):
        held = [story for story in live if story.worker_id == host.name]
        if held and sum(map(len, chosen.values())) + len(held) <= AT_ONCE:
            chosen[host] = held
    return chosen


async def _freeze(here: Scene, told: Told, victims: dict[HostProcess, list[LeaseStory]]) -> None:
    """Stop hosts, let them go on, and wait until they have been told what they missed."""
    heard = {host: len(host.output()) for host in victims}
    for host in victims:
        host.signal(signal.SIGSTOP)
    await asyncio.sleep(PAUSE_S)
    woken = {}
    for host, held in victims.items():
        woken[host] = time.clock_gettime(time.CLOCK_MONOTONIC)
        host.signal(signal.SIGCONT)
        told.woken |= {story.lease_id: woken[host] for story in held}

    async def all_told() -> bool:
        return all(_lost_since(host, heard[host]) >= len(held) for host, held in victims.items())

    try:
        await eventually(all_told, "workers to hear that their leases are lost")
    except AssertionError as error:
        told.violations.append(str(error))
    told.fenced_s += [time.clock_gettime(time.CLOCK_MONOTONIC) - since for since in woken.values()]


def _lost_since(host: HostProcess, offset: int) -> int:
    return sum(" lost  " in line for line in host.output()[offset:].splitlines())


def _judge(told: Told, known: dict[str, LeaseStory], here: Scene) -> None:
    """Whether frozen leases were noticed in time, and what was written after they were over."""
    # Where the server was late itself, or so many were lost at once, all leases got their time again.
    braked_s = NOTICED_S * min(told.braked, MOST_BRAKES)
    for lease_id in told.woken:
        story = known[lease_id]
        if story.lost_s is None:
            told.violations.append(f"{story.job_id}: nobody noticed that {story.worker_id} stands still")
            continue
        told.silences_s.append(story.silence_s)
        if story.silence_s > NOTICED_S + BUSY_S + braked_s:
            told.violations.append(f"{story.job_id}: {story.worker_id} was noticed after {story.silence_s} s")
    told.others = sum(story.lost_s is not None for story in known.values()) - len(told.woken)
    offset_s = wall_offset_s()
    for line in here.written():
        lost_s = known[line.lease_id].lost_s
        told.landed += lost_s is not None and line.at_s + offset_s > lost_s


async def test_frozen_server(tmp_path: Path) -> None:
    began = time.monotonic()
    with warm() as family:
        (expired, violations, events), (control, _, _) = await together(
            _freeze_server(tmp_path, family, family.launch, pauses=SERVER_PAUSES),
            _freeze_server(tmp_path / "control", family, family.launching(plants=["no_brake"]), pauses=1),
        )
    if expired:
        violations.append(f"{expired} leases expired because the server stood still")
    settle(
        Proof(
            name="frozen-server",
            promise="A server that stood still for longer than the leases takes none away, and everything goes on.",
            fault=(
                f"SIGSTOP of the server, every other time of the workers too, for {SERVER_PAUSE_S} s under leases of "
                f"{LEASE_S:.0f} s; then SIGCONT, the server first."
            ),
            runs=SERVER_PAUSES,
            faults=SERVER_PAUSES,
            acknowledged=events,
            violations=violations,
            figures={"leases at risk in each pause": SERVER_JOBS},
            control=f"without the brake {control} of {SERVER_JOBS} leases expired",
            bites=control > 0,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _freeze_server(directory: Path, family: Warm, server: Launch, *, pauses: int) -> tuple[int, list[str], int]:
    """Leases that expired, what was wrong with the log, and how many events there were."""
    async with scene(directory, server, family.launch, hosts=SERVER_HOSTS, slots=SLOTS, jobs=SERVER_JOBS) as here:
        before = running(await here.caller.events())
        for number in range(pauses):
            # Every other time it is the whole machine that stands still.
            frozen = [here.server] if number % 2 else [*here.hosts, here.server]
            for process in frozen:
                process.signal(signal.SIGSTOP)
            await asyncio.sleep(SERVER_PAUSE_S)
            here.server.signal(signal.SIGCONT)
            await asyncio.sleep(LATER_S)
            for process in frozen:
                process.signal(signal.SIGCONT)
            await asyncio.sleep(1.25 * LEASE_S)
        events = await here.caller.events()
        after = running(events)
        expired = sum(event.HasField("lease_expired") for event in events)
        violations = wrong_with(events)
        if not expired and {one.lease_id for one in before.values()} != {one.lease_id for one in after.values()}:
            violations.append("some jobs do not run under their leases any more")
        return expired, violations, len(events)
