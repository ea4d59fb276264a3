"""The other half of the seeds, in a file of its own so that two processors share them."""

from __future__ import annotations

import pytest

from tests.proof.sizes import FULL
from tests.simulation.proving import run, tell


@pytest.mark.timeout(7200)
@pytest.mark.skipif(FULL, reason="the long form runs all seeds in one go")
def test_no_seed_breaks_a_promise() -> None:
    assert not tell(run(1, 2))
