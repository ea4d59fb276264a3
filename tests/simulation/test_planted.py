"""The simulation bites: each bug that is planted into the product is found, by the invariant that speaks of it.

With every `make test` each bug is looked for at the seed at which it was found before, and from seed 1 on only where it
is not found there any more; those that need many seeds are left to `make prove`, which looks for all of them from
seed 1 on and writes the table of what it took.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, size
from tests.simulation.invariants import NAMES
from tests.simulation.planted.catalogue import BUGS, FIRST
from tests.simulation.planted.planting import Edit, NothingToPlant, Planted, place_of
from tests.simulation.running import run_seed

# What a world that hangs is called, instead of an invariant.
GOES_ON = "goes-on"
# Whatever else is planted, these are.
NAMED = {
    "acknowledge-before-commit",
    "no-lease-check",
    "lease-by-wall-clock",
    "idempotency-in-memory",
    "no-grace-after-restart",
    "no-self-fence",
    "start-before-accept-ack",
    "continue-after-failed-fsync",
    "timers-not-rebuilt",
    "reply-from-unflushed-state",
    "heartbeat-count-not-cumulative",
    "expiry-not-lazy",
}
# A bug that takes more seeds than this is left to the long form, unless it is one of those.
SHORT = 60


def places(bug: Planted) -> list[object]:
    """What stands where the bug is to be."""
    return [place_of(where) for edit in bug.edits for where in (edit.where, *edit.also)]


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_is_put_in_and_taken_out_again(bug: Planted) -> None:
    before = places(bug)
    with bug.planted():
        assert all(is_ is not was for is_, was in zip(places(bug), before, strict=True))
    assert places(bug) == before


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_says_what_it_does_and_who_is_to_notice(bug: Planted) -> None:
    assert bug.sentence.endswith(".")
    assert bug.caught_by
    assert bug.caught_by <= NAMES | {GOES_ON}
    assert FIRST.get(bug.name, 0) <= bug.seeds


def test_the_named_bugs_are_all_there() -> None:
    assert set(BUGS) >= NAMED
    assert set(FIRST) <= set(BUGS)


@pytest.mark.parametrize(
    "edit",
    [
        Edit(where="tenure.agent.lease:Lease.renamed", swaps=()),
        Edit(where="tenure.agent.moved:Lease.lose", swaps=()),
        Edit(where="tenure.agent.lease:FENCE", swaps=()),
        Edit(where="tenure.agent.lease:Lease.lose", swaps=(("words that are not there", ""),)),
        Edit(where="tenure.agent.lease:Lease.write_left_ns", swaps=(("self", ""),)),
        Edit(where="tenure.domain.decide:decide", swaps=(), also=("tenure.domain.job:evolve",)),
    ],
    ids=["method", "module", "constant", "words", "twice", "elsewhere"],
)
def test_a_bug_that_misses_its_target_is_an_error(edit: Edit) -> None:
    with pytest.raises(NothingToPlant), edit.applied():
        pass


def seeds(bug: Planted) -> Iterator[int]:
    """Where a bug is looked for."""
    if not FULL and bug.name in FIRST:
        yield FIRST[bug.name]
    yield from range(1, bug.seeds + 1)


def found(bug: Planted) -> tuple[int, list[str]] | None:
    """The first seed at which the right invariant notices the bug, and what it says; None: there is none."""
    for seed in seeds(bug):
        outcome = run_seed(seed, bug.name)
        if outcome.broken & bug.caught_by:
            return seed, [one for one in outcome.violations if one.partition(":")[0] in bug.caught_by]
    return None


def usual() -> list[Planted]:
    """The bugs that are looked for with every run of the tests."""
    return [bug for bug in BUGS.values() if bug.name in NAMED or FIRST.get(bug.name, SHORT + 1) <= SHORT]


@pytest.mark.skipif(FULL, reason="all of them are looked for in one proof")
@pytest.mark.parametrize("bug", usual(), ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Planted) -> None:
    hit = found(bug)
    assert hit is not None, f"{bug.name} is not found within {bug.seeds} seeds: {bug.sentence}"
    assert not run_seed(hit[0]).violations


@pytest.mark.skipif(not FULL, reason="make prove looks for all of them from seed 1 on")
def test_all_planted_bugs_are_found() -> None:
    begun = time.perf_counter()
    chosen = list(BUGS.values())[: size(short=3, full=len(BUGS))]
    figures: dict[str, float | int | str] = {}
    missed: list[str] = []
    tried = 0
    for bug in chosen:
        hit = found(bug)
        tried += hit[0] if hit is not None else bug.seeds
        if hit is None:
            missed.append(f"{bug.name} was not found within {bug.seeds} seeds: {bug.sentence}")
            continue
        if not_clean := run_seed(hit[0]).violations:
            missed.append(f"seed {hit[0]}, at which {bug.name} was found, is broken without it: {not_clean[0]}")
        figures[bug.name] = f"seed {hit[0]} of {bug.seeds}: {hit[1][0].partition(':')[0]}"
    firsts = sorted(int(str(line).split()[1]) for line in figures.values())
    figures["planted_bugs"] = len(chosen)
    figures["median_first_seed"] = firsts[len(firsts) // 2] if firsts else 0
    settle(
        Proof(
            name="planted-bugs",
            promise="Each bug that is planted into the product is found by the simulation within the seeds stated.",
            fault="A few words of the product's own source are changed while worlds are simulated.",
            runs=tried,
            faults=len(chosen),
            acknowledged=0,
            violations=missed,
            figures=figures,
            control="each of these is a control of the simulation: it was broken on purpose, and that was noticed",
            bites=not missed,
            seconds=time.perf_counter() - begun,
        )
    )
