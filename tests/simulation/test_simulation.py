"""Whole worlds from seeds. What a seed found once is kept below, whatever became of the seed."""

from __future__ import annotations

import time

from tests.simulation.proving import run, settled


def test_no_seed_breaks_a_promise() -> None:
    begun = time.monotonic()
    settled(run(0, 2), begun)
