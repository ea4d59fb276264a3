"""All planted bugs, by name."""

from __future__ import annotations

from tests.simulation.planted import dispatch, durability, leases, time, worker
from tests.simulation.planted.planting import Planted

BUGS: dict[str, Planted] = {
    bug.name: bug for bug in (*durability.BUGS, *leases.BUGS, *time.BUGS, *dispatch.BUGS, *worker.BUGS)
}

# The seeds at which they were found last, so that a quick look finds them there again.
FIRST: dict[str, int] = {}
