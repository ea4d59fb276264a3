"""The collector's settings: what is there is set aside, and what comes later is still collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tenure.runtime import garbage


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_is_there_is_set_aside() -> None:
    kept = [object() for _ in range(10)]
    garbage.settle()
    assert gc.get_freeze_count() > 0
    assert not any(one is kept for one in gc.get_objects())


def test_cycles_that_come_later_are_collected() -> None:
    garbage.settle()

    class Node:
        def __init__(self) -> None:
            self.itself = self

    gone = weakref.ref(Node())
    assert gone() is not None
    gc.collect(0)
    assert gone() is None
