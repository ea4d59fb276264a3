"""The checker: everything that must hold of what happened in a world, whatever happened to it.

`check(history)` names every promise that was broken, with a sentence. It knows no world: one made by hand will do,
and `test_invariants.py` makes one that is wrong for each invariant, because a checker that cannot fail proves nothing.
What is judged while a world runs is in `invariants_state`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from itertools import islice

from tests.simulation import (
    invariants_calls,
    invariants_leases,
    invariants_order,
    invariants_streams,
    invariants_watches,
    invariants_whole,
    invariants_workers,
    liveness,
)
from tests.simulation.history import History
from tests.simulation.invariants_case import Case
from tests.simulation.invariants_log import RULES
from tests.simulation.invariants_state import STATE as STATE
from tests.simulation.invariants_state import StateJudge as StateJudge
from tests.simulation.invariants_story import Violation as Violation

# What is said of one broken invariant, at most: the first sentences tell it.
MOST = 5

Check = Callable[[Case], Iterable[str]]

_MODULES = (
    invariants_whole,
    invariants_calls,
    invariants_order,
    invariants_watches,
    invariants_leases,
    invariants_workers,
    invariants_streams,
    liveness,
)


def _public(module: object) -> dict[str, Check]:
    """The invariants of a module: its public functions of a case."""
    found = {}
    for name, function in vars(module).items():
        mine = inspect.isfunction(function) and function.__module__ == getattr(module, "__name__", "")
        if mine and not name.startswith("_") and list(inspect.signature(function).parameters) == ["case"]:
            found[name.replace("_", "-")] = function
    return found


# Judged at the end of a run, of the whole of it.
CHECKS: dict[str, Check] = {name: check for module in _MODULES for name, check in _public(module).items()}

# Judged event by event while the log is read; the names are those of the rules.
LOG_RULES = frozenset(rule.__name__.replace("_", "-") for rules in RULES.values() for rule in rules)

# Everything that can be broken, by name.
NAMES = frozenset(CHECKS) | LOG_RULES | {STATE}


def check(history: History) -> list[Violation]:
    """Every promise that a history breaks."""
    case = Case(history)
    found = list(case.story.violations)
    found += [Violation(STATE, sentence) for sentence in history.step_violations]
    for name, judge in CHECKS.items():
        found += [Violation(name, sentence) for sentence in islice(judge(case), MOST)]
    return found
