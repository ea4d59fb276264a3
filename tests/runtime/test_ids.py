"""Ids: of the right form, in the order they were made, and never twice."""

from __future__ import annotations

import re
import time
import uuid

import pytest

from tenure.runtime.ids import Uuid7Ids


def test_ids_are_uuids_of_version_7() -> None:
    made = uuid.UUID(Uuid7Ids().new())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_ids_grow_and_never_come_twice() -> None:
    ids = Uuid7Ids()
    made = [ids.new() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_of_two_sources_differ() -> None:
    first, second = Uuid7Ids(), Uuid7Ids()
    assert not {first.new() for _ in range(5_000)} & {second.new() for _ in range(5_000)}


def test_ids_keep_the_rule_for_ids() -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", Uuid7Ids().new())


def test_ids_do_not_care_what_the_clock_is_set_to(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Uuid7Ids()
    before = ids.new()

    def year_9999() -> int:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")

    monkeypatch.setattr(time, "time_ns", year_9999)
    assert ids.new() > before
