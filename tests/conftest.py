"""What every test shares: Hypothesis profiles, the order of files that run in parallel, what is kept of failures."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.proof.breaking import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

# A busy machine is no reason to fail: no deadlines, and no complaint about slow generation.
settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# `HYPOTHESIS_PROFILE=explore make test` looks further, differently every time.
settings.register_profile(
    "explore", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that was told to go on meanwhile (`make test &` in a script) ignores it for all that it starts, commands
    # under test among them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: every other second of a test is waiting for a process, a lease or a disk."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start processes.

    `make test` gives whole files to its workers, in this order, so that a file starts its server or object store once.
    Those files are the long ones, and a long one at the end would be waited for alone.
    """
    starting = {item.path for item in items if item.get_closest_marker("processes")}
    items.sort(key=lambda item: item.path not in starting)
