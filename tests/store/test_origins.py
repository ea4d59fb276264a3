from __future__ import annotations

import pytest

from tenure.domain.job import create
from tenure.store import origins
from tenure.store.origins import Created, Origins
from tests.store.making import T0, created_event


def created(job_id: str, size: int = 10) -> Created:
    return Created(create(job_id, created_event(job_id), T0).origin, b"x" * size)


def test_what_was_put_is_found() -> None:
    kept = Origins()
    kept.put([(1, created("a")), (2, created("b"))])
    found = kept.get(2)
    assert found is not None
    assert found.origin.id == "b"
    assert kept.get(3) is None


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "MOST_JOBS", 3)
    kept = Origins()
    kept.put((number, created(f"j{number}")) for number in range(5))
    assert [number for number in range(5) if kept.get(number)] == [2, 3, 4]


def test_large_specifications_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "MOST_BYTES", 25)
    kept = Origins()
    for number in range(4):
        kept.put([(number, created(f"j{number}"))])
        kept.put([(number, created(f"j{number}"))])
    assert [number for number in range(4) if kept.get(number)] == [2, 3]
