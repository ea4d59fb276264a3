"""Whole worlds from seeds: no promise is broken in any of them."""

from __future__ import annotations

import time

import pytest

from tests.simulation.proving import run, settled


@pytest.mark.timeout(7200)
def test_no_seed_breaks_a_promise() -> None:
    begun = time.monotonic()
    settled(run(0, 2), begun)
