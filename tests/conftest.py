"""What every test shares: Hypothesis profiles, and which tests stay together when they run in parallel."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: no deadlines, and no complaint about slow generation.
settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# `HYPOTHESIS_PROFILE=explore make test` looks further, differently every time.
settings.register_profile(
    "explore", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the process-starting tests of one file on one worker, so that they start a store or a server once.

    They come first, because they are the long ones and a long one at the end would be waited for alone. Every other
    test goes to whichever worker is free.
    """
    for item in items:
        if item.get_closest_marker("processes") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path.name)))
    items.sort(key=lambda item: item.get_closest_marker("processes") is None)
