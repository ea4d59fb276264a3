"""What one seed brings: how many machines, how wrong their clocks are, what clients wish, and what goes wrong when.

Swarm testing: each kind of fault is on or off for a whole seed, and comes seldom or often, so that seeds differ in
kind and not only in detail. All of it follows from the seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.simulation.loop import NS

# Kind → (chance that a seed has it, most per seed, shortest and longest in seconds).
KINDS: dict[str, tuple[float, int, float, float]] = {
    "server.crash": (0.35, 3, 0.0, 40.0),
    "server.power": (0.15, 2, 1.0, 90.0),
    "server.move": (0.12, 2, 0.0, 30.0),
    "server.stop": (0.15, 2, 0.0, 20.0),
    "server.boot": (0.12, 1, 0.0, 10.0),
    "server.pause": (0.15, 2, 0.5, 45.0),
    "server.stall": (0.12, 2, 0.5, 30.0),
    "server.suspend": (0.08, 1, 1.0, 90.0),
    "disk.slow": (0.25, 3, 2.0, 60.0),
    "disk.full": (0.12, 2, 1.0, 40.0),
    "disk.read-only": (0.08, 1, 1.0, 30.0),
    "disk.fail": (0.2, 2, 0.0, 20.0),
    "net.cut": (0.3, 6, 0.0, 0.0),
    "net.block": (0.3, 4, 0.5, 90.0),
    "net.up": (0.15, 3, 0.5, 60.0),
    "net.down": (0.15, 3, 0.5, 60.0),
    "agent.crash": (0.25, 3, 0.5, 60.0),
    "agent.power": (0.12, 2, 1.0, 60.0),
    "agent.pause": (0.2, 3, 0.5, 60.0),
    "agent.suspend": (0.08, 2, 1.0, 90.0),
    "agent.drain": (0.15, 2, 0.5, 20.0),
    "clock.server": (0.2, 3, 0.0, 0.0),
    "clock.worker": (0.1, 2, 0.0, 0.0),
    "store.unreachable": (0.15, 3, 1.0, 60.0),
    "store.refusing": (0.08, 1, 1.0, 20.0),
    "store.slow": (0.12, 2, 2.0, 60.0),
}
# Kinds that came later, with dice of their own, so that what came of a seed before still comes of it: likewise.
LATER: dict[str, tuple[float, int, float, float]] = {
    "net.all": (0.04, 2, 1.0, 60.0),
    "net.workers": (0.04, 2, 1.0, 60.0),
}
# How many messages a stream to a worker takes that were not read yet.
ROOMS = (64, 64, 64, 2, 1)
# How long a worker takes at most to read one, in seconds, where there is room for few.
LAZY = (0.0, 1.0, 4.0)
# How long reads of the store take at most, in seconds.
READS = (0.0, 0.0, 0.0, 0.05, 0.3)
# Part of the seeds that have a wave of jobs.
WAVES = 0.12
# Steps of a wall clock, in seconds.
STEPS = (15.0, -15.0, 3600.0, -3600.0, 259_200.0, -259_200.0, 2.0, -2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One fault: its kind, when it begins, how long it lasts, and whom it hits (by number, where there are several).

    `measure` says how much, where there is a how much: 0 to 1.
    """

    kind: str
    begin_ns: int
    length_ns: int
    target: int
    measure: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """A machine: how much its clocks run fast, how wrong its wall clock is, and its way to the server."""

    rate: float
    skew_ns: int
    base_s: float
    tail: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """A worker: its machine, its slots and its queues."""

    machine: MachinePlan
    slots: int
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """A client: its way to the server and what it is like.

    Attributes:
        operations: how many wishes it has.
        pace_s: mean time between them.
        careless: chance that a wish has no request id.
        tries: how often it tries before it gives up.
        patience_s: how long it waits for one answer.
        storm: chance that it says several things at once.
        repeats: chance that the network brings a request twice.
    """

    machine: MachinePlan
    operations: int
    pace_s: float
    careless: float
    tries: int
    patience_s: float
    storm: float
    repeats: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Jobs that are created all at once, long and with the same interval of beats: their leases run in step.

    Attributes:
        at_s: when.
        interval_s: between their beats.
    """

    jobs: int
    at_s: float
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything of one seed.

    Attributes:
        shuffle: callbacks that could run at the same instant run in any order.
        kinds: of faults that are on.
        jobs: how many are created, at most, besides those of the wave.
        wave: None: there is none.
        room: how many messages a stream to a worker takes that were not read yet.
        lazy_s: how long a worker takes to read the next one, at most.
        read_s: how long the store takes to read, at most.
        heal_ns: from then on nothing goes wrong any more.
    """

    seed: int
    shuffle: bool
    server: MachinePlan
    workers: tuple[WorkerPlan, ...]
    clients: tuple[ClientPlan, ...]
    faults: tuple[PlannedFault, ...]
    kinds: tuple[str, ...]
    jobs: int
    wave: Wave | None
    room: int
    lazy_s: float
    read_s: float
    pauses: bool
    slow_disk: float
    heal_ns: int


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(f"{seed}/plan")
    clocks = random.random() < 0.5
    tail = random.choice((0.0, 0.0, 0.02, 0.1))
    # Most are short; some are long enough for what takes minutes.
    heal_s = 20.0 + 200.0 * random.random() ** 4
    quiet = random.random() < 0.04
    kinds = () if quiet else tuple(kind for kind, (chance, *_) in KINDS.items() if random.random() < chance)
    often = random.random() < 0.3
    workers = tuple(
        WorkerPlan(
            machine=_machine(random, clocks, tail),
            slots=random.choice((1, 1, 2, 3)),
            # Somebody has to serve each of them.
            queues=random.choice((("default",), ("default", "batch"))) if number else ("batch", "default"),
        )
        for number in range(random.choice((2, 2, 3, 3, 4)))
    )
    clients = tuple(_client(random, tail) for _ in range(random.choice((1, 2, 2, 3))))
    plan = Plan(
        seed=seed,
        shuffle=random.random() < 0.4,
        server=_machine(random, clocks, tail),
        workers=workers,
        clients=clients,
        faults=tuple(_faults(random, KINDS, kinds, heal_s, len(workers), len(clients), often=often)),
        kinds=kinds,
        jobs=random.randint(2, 10),
        wave=None,
        room=64,
        lazy_s=0.0,
        read_s=0.0,
        pauses=random.random() < 0.3,
        slow_disk=random.choice((0.0, 0.0, 0.3)),
        heal_ns=int(heal_s * NS),
    )
    return plan if quiet else _later(plan)


def _later(plan: Plan) -> Plan:
    """What came later, with dice of its own."""
    random = Random(f"{plan.seed}/later")
    room, read_s = random.choice(ROOMS), random.choice(READS)
    lazy_s = random.choice(LAZY) if room < plan.room else 0.0
    kinds = tuple(kind for kind, (chance, *_) in LATER.items() if random.random() < chance)
    heal_s = plan.heal_ns / NS
    wave, workers = None, plan.workers
    if random.random() < WAVES:
        wave = Wave(jobs=random.randint(5, 9), at_s=random.uniform(1, 4), interval_s=random.choice((2, 5)))
        workers = tuple(replace(worker, slots=3) for worker in workers)
        # Long enough for a lease to begin and to run out twice, and for most of them to be cut off meanwhile.
        heal_s = max(heal_s, 20.0 + 4 * wave.interval_s)
        kinds = kinds or (random.choice(tuple(LATER)),)
    more = _faults(random, LATER, kinds, heal_s, len(workers), len(plan.clients), often=False)
    faults = sorted((*plan.faults, *more), key=lambda fault: (fault.begin_ns, fault.kind))
    return replace(
        plan,
        workers=workers,
        faults=tuple(faults),
        kinds=(*plan.kinds, *kinds),
        wave=wave,
        room=room,
        lazy_s=lazy_s,
        read_s=read_s,
        heal_ns=int(heal_s * NS),
    )


def _machine(random: Random, clocks: bool, tail: float) -> MachinePlan:
    return MachinePlan(
        rate=random.uniform(0.98, 1.02) if clocks else 1.0,
        skew_ns=int(random.uniform(-5, 5) * NS) if clocks else 0,
        base_s=random.choice((0.0005, 0.005, 0.05)),
        tail=tail,
    )


def _client(random: Random, tail: float) -> ClientPlan:
    return ClientPlan(
        machine=_machine(random, False, tail),
        operations=random.randint(4, 14),
        pace_s=random.choice((2.0, 6.0, 15.0)),
        careless=random.choice((0.0, 0.0, 0.3)),
        tries=random.choice((1, 3, 8)),
        patience_s=random.choice((1.0, 5.0, 20.0)),
        storm=random.choice((0.0, 0.1, 0.4)),
        repeats=random.choice((0.0, 0.0, 0.2)),
    )


def _faults(
    random: Random,
    known: dict[str, tuple[float, int, float, float]],
    kinds: tuple[str, ...],
    heal_s: float,
    workers: int,
    clients: int,
    *,
    often: bool,
) -> list[PlannedFault]:
    found = []
    for kind in kinds:
        _, most, shortest, longest = known[kind]
        count = random.randint(1, most if often else max(1, most // 2))
        for _ in range(count):
            begin_s = random.uniform(0.5, heal_s)
            # Short ones are as likely as long ones, whatever the scale.
            length_s = shortest + (longest - shortest) * random.random() ** 2
            found.append(
                PlannedFault(
                    kind=kind,
                    begin_ns=int(begin_s * NS),
                    length_ns=int(min(length_s, max(0.0, heal_s - begin_s)) * NS),
                    target=random.randrange(workers + clients)
                    if kind.startswith("net.")
                    else random.randrange(workers),
                    measure=random.random(),
                )
            )
    found.sort(key=lambda fault: (fault.begin_ns, fault.kind))
    return found
