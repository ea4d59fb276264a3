"""One seed, from its plan to its verdict."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import structlog

from tests.simulation.history import History, Refusal
from tests.simulation.loop import NS, BusyLoop, Deadlock
from tests.simulation.plan import Plan, plan_of
from tests.simulation.world import World

Told = Callable[[int, str, str], None]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a seed.

    Attributes:
        violations: sentences, each with the name of the invariant before it.
        broken: names of the invariants that were broken.
        digest: of everything that happened; equal for equal seeds.
        acknowledged: changes that clients know to be done.
        faults: how often each kind was injected.
        virtual_s: how long the world lived by its own time.
        events: how long its log is.
        coverage: how often which fault met which state.
    """

    seed: int
    violations: list[str] = field(default_factory=list)
    broken: frozenset[str] = frozenset()
    digest: str = ""
    acknowledged: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    events: int = 0
    steps: int = 0
    coverage: Counter[str] = field(default_factory=Counter)


def run_seed(seed: int, planted: str | None = None, *, told: Told | None = None, plan: Plan | None = None) -> Outcome:
    """Run one seed and judge it.

    Args:
        seed: everything follows from it.
        planted: name of a bug that the product is to have meanwhile.
        told: given every line of the trace.
        plan: another plan than the seed's own, as when faults are left out.
    """
    from tests.simulation.planted.catalogue import BUGS

    with silence(), BUGS[planted].planted() if planted else nullcontext():
        return _run(plan or plan_of(seed), told)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged: what the product says of injected faults is of no use to anybody."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _run(plan: Plan, told: Told | None) -> Outcome:
    from tests.simulation import invariants

    world = World(plan, told)
    outcome = Outcome(seed=plan.seed)
    try:
        try:
            history = world.run()
        except (BusyLoop, Deadlock) as error:
            outcome.violations.append(f"goes-on: {error}")
            outcome.broken = frozenset({"goes-on"})
            return outcome
        found = invariants.check(history)
        outcome.violations = [f"{one.invariant}: {one.sentence}" for one in found]
        outcome.broken = frozenset(one.invariant for one in found)
        _count(outcome, history)
        outcome.steps = world.schedule.steps
        outcome.coverage = world.coverage
        outcome.digest = digest_of(history, world.schedule.steps)
        return outcome
    finally:
        world.bury()


def _count(outcome: Outcome, history: History) -> None:
    outcome.acknowledged = sum(1 for call in history.calls if call.ok and call.request_id)
    outcome.faults = Counter(fault.kind for fault in history.faults)
    outcome.virtual_s = history.ended_ns / NS
    outcome.events = len(history.log)


def digest_of(history: History, steps: int) -> str:
    """One number for all that happened."""
    made = hashlib.sha256()
    made.update(repr((steps, history.ended_ns, len(history.said), len(history.beats))).encode())
    if history.head is not None:
        made.update(history.head.hash)
    for call in history.calls:
        reason = call.answer.reason if isinstance(call.answer, Refusal) else call.ok
        made.update(repr((call.rpc, call.sent_ns, call.answered_ns, call.boot, reason, call.unknown_code)).encode())
    for run in history.executions:
        made.update(repr((run.incarnation, run.lease_id, run.started_ns, run.ended_ns, run.ended)).encode())
    for commit in history.committed:
        made.update(repr((commit.last, commit.durable_ns)).encode())
    return made.hexdigest()[:24]
