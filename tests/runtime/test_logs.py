from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from tenure.runtime import logs


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Logging is of the process: put back what a test changes."""
    configuration = structlog.get_config()
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.configure(**configuration)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


log = logs.get_logger("early")


def test_a_record_is_an_event_word_and_fields() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    log.info("lease_expired", job_id="a", silence_s=60)
    log.debug("not_shown")
    record = json.loads(stream.getvalue())
    assert record.pop("time").endswith("Z")
    assert record == {"component": "early", "event": "lease_expired", "job_id": "a", "silence_s": 60, "level": "info"}


def test_what_is_no_json_is_shown_as_text() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    log.info("x", path=logs.LogLevel, raw=b"\x00")
    assert json.loads(stream.getvalue())["raw"] == "b'\\x00'"


def test_people_get_lines_and_machines_get_json() -> None:
    stream = io.StringIO()
    logs.configure("warning", "auto", stream)
    log.warning("one")
    assert json.loads(stream.getvalue())["event"] == "one"
    stream = io.StringIO()
    logs.configure("warning", "console", stream)
    log.warning("two", a=1)
    assert "two" in stream.getvalue()
    assert "a=1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("shape", ["json", "console"])
def test_an_exception_does_not_show_local_variables(shape: str) -> None:
    stream = io.StringIO()
    logs.configure("info", shape, stream)
    password = "hunter" + "2"
    try:
        raise ValueError(len(password))
    except ValueError:
        log.exception("failed")
    assert "ValueError" in stream.getvalue()
    assert password not in stream.getvalue()


def test_libraries_take_the_same_road() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logging.getLogger("boto").warning("slow %s", "disk")
    logging.getLogger("boto").info("not shown")
    record = json.loads(stream.getvalue())
    assert (record["component"], record["event"], record["message"]) == ("boto", "library_log", "slow disk")


def test_without_being_configured_it_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("not_shown")
    assert capsys.readouterr().out == ""


def test_a_log_that_cannot_be_written_breaks_nothing() -> None:
    with open("/dev/full", "w") as stream:
        logs.configure("info", "json", stream)
        log.error("lost")
        logging.getLogger("boto").warning("lost as well")
        logs.flush()


def test_a_process_without_standard_error_logs_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    logs.configure()
    log.error("lost")


@pytest.mark.parametrize(("level", "shape"), [("loud", "json"), ("info", "xml")])
def test_wrong_settings_are_refused(level: str, shape: str) -> None:
    with pytest.raises(ValueError, match=r"loud|xml"):
        logs.configure(level, shape)
