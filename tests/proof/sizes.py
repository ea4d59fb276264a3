"""How much a proof does: a short form with every `make test`, the long one with `make prove`."""

from __future__ import annotations

import os

FULL = os.environ.get("TENURE_PROVE") == "full"


def size(*, short: int, full: int) -> int:
    """How many runs (or seeds, or callers) this time.

    `TENURE_PROVE_PERCENT` scales the long form down, to try it; at least the short form is done.
    """
    if not FULL:
        return short
    percent = int(os.environ.get("TENURE_PROVE_PERCENT", "100"))
    return max(short, full * percent // 100)


def first_seed() -> int:
    """Where the seeds of random proofs begin: TENURE_TEST_SEED, or 1."""
    return int(os.environ.get("TENURE_TEST_SEED") or 1)
