"""What was ever stored is readable, with the meaning it had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenure.store import codec
from tests.golden.make import EVENTS, HERE, T0, main, meaning, stored

FILES = sorted(path.stem for path in HERE.glob("*.json"))


def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_stored_event_is_read_as_it_was_meant(name: str) -> None:
    file = golden(name)
    assert meaning(file["stream"], file["version"], bytes.fromhex(file["stored"])) == file["means"]


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_the_same_event_written_today_means_the_same(name: str) -> None:
    stream, version, payload = EVENTS[name]
    data = stored(stream, version, payload)
    assert meaning(stream, version, data) == golden(name)["means"]
    assert codec.decode(data, position=17, stream=stream, version=version, time_us=T0).payload == payload


def test_every_type_has_a_golden_file() -> None:
    have = {name.partition("-")[0] for name in FILES}
    assert have == {kind.__name__ for kind in codec.TYPE_OF}


def test_nothing_is_missing_and_nothing_is_written_again(tmp_path: Path) -> None:
    assert set(FILES) >= set(EVENTS)
    before = {name: (HERE / f"{name}.json").stat().st_mtime_ns for name in FILES}
    main()
    assert {name: (HERE / f"{name}.json").stat().st_mtime_ns for name in FILES} == before
