"""The page's modules that need no page: words, spans, and the model of the timeline."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.processes


async def call(page: Any, module: str, name: str, *arguments: object) -> Any:
    """What a function of a module gives."""
    script = "async ([module, name, values]) => (await import(`/static/js/${module}.js`))[name](...values)"
    return await page.evaluate(script, [module, name, list(arguments)])


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (400, "0.4s"),
        (9_000, "9s"),
        (59_600, "1m"),
        (90_000, "1m 30s"),
        (18_000_000, "5h"),
        (90_060_000, "1d 1h"),
        (-1_000, "-1s"),
    ],
)
async def test_spans_are_written(page: Any, ms: int, text: str) -> None:
    assert await call(page, "format", "span", ms) == text


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        (" 1H 30m ", 5_400_000),
        ("2d", 172_800_000),
        ("0.5s", 500),
        ("250ms", 250),
        ("90", None),
        ("30m1h", None),
        ("1h1h", None),
        ("", None),
        ("-1h", None),
        ("soon", None),
    ],
)
async def test_spans_are_read_as_the_command_line_reads_them(page: Any, text: str, ms: int | None) -> None:
    assert await call(page, "format", "parseSpan", text) == ms


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  a  b ", ["a", "b"]),
        ("echo 'a b' \"c d\"", ["echo", "a b", "c d"]),
        ("a''b \"\"", ["ab", ""]),
        ('"a\\"b" c\\ d', ['a"b', "c d"]),
        ("'$HOME' *", ["$HOME", "*"]),
        ('"\\n"', ["\\n"]),
    ],
)
async def test_command_lines_are_cut_into_words(page: Any, line: str, words: list[str]) -> None:
    assert await call(page, "shell_words", "shellWords", line) == {"words": words}
    specification = {"command": words[0], "arguments": words[1:]} if words else {}
    assert await call(page, "shell_words", "shellWords", await call(page, "words", "commandLine", specification)) == {
        "words": words
    }


@pytest.mark.parametrize("line", ["'open", 'open"', "end\\"])
async def test_unfinished_command_lines_are_said_to_be(page: Any, line: str) -> None:
    assert "problem" in await call(page, "shell_words", "shellWords", line)


def at(seconds: float) -> str:
    """An instant of the story below."""
    return f"2026-01-31T12:{int(seconds) // 60:02d}:{seconds % 60:06.3f}Z"


def job(**status: object) -> dict[str, object]:
    """A job of ten minutes, created at 0, that ran once for a minute and now runs again on another worker."""
    return {
        "createdAt": at(0),
        "specification": {"timeAllocation": "600s"},
        "status": {
            "state": "JOB_STATE_RUNNING",
            "attempt": 2,
            "startedAt": at(10),
            "expiresAt": at(910),
            "grantedExtension": "300s",
            "lastHeartbeatAt": at(130),
            **status,
        },
        "updates": [
            {"timestamp": at(0), "state": "JOB_STATE_IN_QUEUE"},
            {"timestamp": at(10), "state": "JOB_STATE_RUNNING"},
            {"timestamp": at(70), "state": "JOB_STATE_IN_QUEUE"},
            {"timestamp": at(80), "state": "JOB_STATE_RUNNING"},
        ],
        "attempts": [
            {
                "number": 1,
                "machineId": "one",
                "assignedAt": at(5),
                "startedAt": at(10),
                "endedAt": at(70),
                "endReason": "ATTEMPT_END_REASON_FAILED",
                "numHeartbeats": "3",
            },
            {"number": 2, "machineId": "two", "assignedAt": at(75), "startedAt": at(80), "numHeartbeats": "2"},
        ],
    }


async def model(page: Any, told: dict[str, object], events: list[dict[str, object]], now_s: float) -> Any:
    """The model of a timeline, its times as seconds since the job's creation."""
    script = """async ([job, events, now]) => {
      const { timelineModel } = await import('/static/js/timeline_model.js');
      const history = new Map(events.map(event => [event.position, event]));
      const begin = Date.parse(job.createdAt);
      const seconds = value => typeof value === 'number' && value > 1e9 ? (value - begin) / 1000 : value;
      return JSON.parse(JSON.stringify(timelineModel(job, history, begin + now * 1000), (_, value) => seconds(value)));
    }"""
    return await page.evaluate(script, [told, events, now_s])


async def test_the_timeline_is_to_scale(page: Any) -> None:
    beat: dict[str, object] = {"position": "9", "time": at(65), "jobHeartbeat": {"attempt": 1, "lastBeat": at(64)}}
    more: dict[str, object] = {"position": "12", "time": at(120), "jobExtended": {"requestedTime": "300s"}}
    shown = await model(page, job(), [more, beat], 140)
    assert [(each["key"], each["from"], each["to"]) for each in shown["states"]] == [
        ("queued", 0, 10),
        ("running", 10, 70),
        ("queued", 70, 80),
        ("running", 80, 140),
    ]
    time = shown["allocation"]
    assert (time["from"], time["base"], time["to"]) == (10, 610, 910)
    assert time["extensions"] == [{"at": 120, "by": 300_000}]
    assert time["untold"] == 0
    first, second = shown["attempts"]
    assert (first["assigned"], first["started"], first["to"], first["live"]) == (5, 10, 70, False)
    assert (first["beats"], first["reason"]) == ([64], "failed")
    assert (second["to"], second["live"], second["beats"], second["last"]) == (140, True, [130], 130)


async def test_without_the_log_the_timeline_shows_what_the_job_itself_tells(page: Any) -> None:
    """Whoever may not read the log sees the sum of the extensions, without their instants."""
    shown = await model(page, job(), [], 140)
    assert shown["allocation"]["extensions"] == []
    assert shown["allocation"]["untold"] == 300_000


async def test_an_ended_job_ends_where_its_last_update_is(page: Any) -> None:
    told = job(state="JOB_STATE_FAILURE", outcome="JOB_OUTCOME_FAILED", expiresAt=None)
    shown = await model(page, told, [], 9999)
    assert shown["final"]
    assert shown["end"] == 80
    assert shown["allocation"] is None
