from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from tenure.runtime.settings import Settings, SettingsError, read


class Example(Settings):
    work_dir: Path = Path("here")
    slots: int = Field(default=1, ge=1, le=1024)
    secret: str | None = None


def test_flags_win_over_variables_and_those_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(Example) == Example(work_dir=Path("here"), slots=1)
    monkeypatch.setenv("TENURE_SLOTS", "4")
    monkeypatch.setenv("TENURE_WORK_DIR", "there")
    assert read(Example, slots=None).slots == 4
    settings = read(Example, slots=8)
    assert (settings.slots, settings.work_dir) == (8, Path("there"))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(Example).slots = 2


def test_every_wrong_setting_gets_a_line_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENURE_SLOTS", "hunter2")
    with pytest.raises(SettingsError) as caught:
        read(Example, secret=["hunter2"], unknown="hunter2")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any(line.startswith("slots: ") and "flag --slots, variable TENURE_SLOTS" in line for line in lines)
    assert "hunter2" not in str(caught.value)
