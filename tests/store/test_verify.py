"""`verify` says what is wrong with a log, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.store.anchor import Anchor, write_anchor
from tenure.store.offline import verify_directory
from tenure.store.store import VerifyReport
from tests.store.making import (
    SECOND,
    add_jobs,
    append,
    assign,
    change,
    created_event,
    creation,
    life,
    put,
    queue_append,
)
from tests.store.opening import opened


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """A log of 11 events in 5 commits."""
    async with opened(tmp_path) as store:
        a, b, _ = await add_jobs(store, "a", "b", "c")
        await put(store, change(a, *life(a)))
        await put(store, change(b, assign(b)))
        await put(store, queue_append("q", None, e.QueueConfigured(), e.QueuePaused(reason="r")))
        await add_jobs(store, "one-specification", "two-specification")
    return tmp_path


def damage(directory: Path, *statements: str) -> None:
    """Change the database as somebody with another program would."""
    connection = apsw.Connection(str(directory / "tenure.db"))
    for name in ("events_stay", "events_last"):
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def report_of(directory: Path) -> VerifyReport:
    *_, (_, report) = verify_directory(directory)
    return report


async def test_a_whole_log_has_no_problems(log: Path) -> None:
    report = report_of(log)
    assert report.problems == []
    assert (report.position, report.events, report.commits, report.jobs) == (11, 11, 5, 5)


async def test_verifying_changes_nothing(log: Path) -> None:
    before = (log / "tenure.db").read_bytes()
    report_of(log)
    assert (log / "tenure.db").read_bytes() == before


CASES: dict[str, tuple[str, str]] = {
    "an event is missing": ("DELETE FROM events WHERE position = 5", "position 5 missing from the log"),
    "events are missing": ("DELETE FROM events WHERE position IN (5, 6)", "positions 5 to 6 missing from the log"),
    "an event was changed": (
        "UPDATE events SET data = CAST(replace(CAST(data AS TEXT), 'two-s', 'twO-s') AS BLOB) WHERE position = 11",
        "positions 10 to 11 are not what was committed: the hash chain breaks there",
    ),
    "a time was changed": ("UPDATE events SET time_us = time_us + 1 WHERE position = 7", "positions 7 to 7 are not"),
    "a version was changed": (
        "UPDATE events SET version = 9 WHERE position = 5",
        "position 5: job/a goes from version 2 to 9",
    ),
    "an event moved to another stream": (
        "UPDATE events SET stream = 3, version = 2 WHERE position = 7",
        "positions 7 to 7 are not what was committed",
    ),
    "a type was changed": ("UPDATE events SET type = 18 WHERE position = 7", "position 7: the row says type 18"),
    "an event is garbage": ("UPDATE events SET data = x'ffff' WHERE position = 7", "position 7: the stored bytes are"),
    "an event is of a later version": (
        "UPDATE events SET data = x'8a0700' WHERE position = 7",
        "position 7: an event of a type that this version does not know",
    ),
    "a commit was changed": ("UPDATE commits SET hash = zeroblob(32) WHERE position = 6", "positions 4 to 6 are not"),
    "the last commit is missing": ("DELETE FROM commits WHERE position = 11", "the log ends at position 9"),
    "a commit is missing": ("DELETE FROM commits WHERE position = 6", "positions 4 to 7 are not what was committed"),
    "a job has no row": ("DELETE FROM jobs WHERE number = 3", "job/c: it has no row"),
    "a job has no origin": ("DELETE FROM origins WHERE number = 1", "job/a: it has no row"),
    "a row too many": (
        "INSERT INTO origins SELECT 9, 'ghost', created_us, created_by, project, application, product_id, "
        "product_category, product_provider, labels FROM origins WHERE number = 1",
        "origins has 6 rows, the log makes 5",
    ),
    "a row was changed": ("UPDATE jobs SET due_us = 5 WHERE number = 2", "job/b: its row is not what its 2 events"),
    "a final row was changed": ("UPDATE jobs SET state = 5 WHERE number = 1", "job/a: its row is not what its 4"),
    "a fold was changed": ("UPDATE jobs SET fold = x'01' WHERE number = 2", "job/b: its row is not what its 2 events"),
    "marks were changed": ("UPDATE jobs SET marks = zeroblob(8) WHERE number = 2", "job/b: its row is not what its 2"),
    "an origin was changed": ("UPDATE origins SET created_by = 'me' WHERE number = 3", "job/c: its row is not what"),
    "a queue was changed": ("UPDATE queues SET version = 1", "queue/q: its row is not what its 2 events make of it"),
    "a queue too many": (
        "INSERT INTO queues SELECT 'x', 1, version, fold FROM queues",
        "queues has 2 rows, the log makes 1",
    ),
    "a queue has no row": ("DELETE FROM queues", "queue/q: its row is not what its 2 events make of it"),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_is_said(log: Path, case: str) -> None:
    statement, problem = CASES[case]
    damage(log, statement)
    problems = report_of(log).problems
    assert any(problem in one for one in problems), problems


async def test_an_event_that_is_not_possible_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        (job,) = await add_jobs(store, "a")
        ended = change(job, c.Terminate())
        assert ended.job is not None
        (final,) = await put(store, ended)
        wrong = append(job, [(final.last_us + SECOND, e.JobExtended(requested_us=SECOND))])
        assert wrong.job is not None
        late = replace(wrong, expected_version=2, job=replace(final, version=3))
        await put(store, late)
    assert report_of(tmp_path).problems[0].startswith("position 3: version 3 of stream 1, which has ended")


async def test_a_flipped_bit_in_the_file_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, creation("early", created_event("early", specification=b"a long specification")))
        for number in range(2_000):
            if number % 100 == 0:
                await add_jobs(store, *(f"j{number + more}" for more in range(100)))
    path = tmp_path / "tenure.db"
    data = bytearray(path.read_bytes())
    at = data.index(b"a long specification")
    data[at] ^= 0x20
    path.write_bytes(data)
    problems = report_of(tmp_path).problems
    assert "positions 1 to 1 are not what was committed: the hash chain breaks there" in problems


async def test_the_anchor_is_part_of_it(log: Path) -> None:
    anchors: list[tuple[Callable[[], object], str]] = [
        (lambda: write_anchor(log, Anchor(log_id="other", epoch=1, position=0, hash=b"")), "do not belong together"),
        ((log / "anchor.json").unlink, "anchor.json is missing"),
    ]
    for change_anchor, problem in anchors:
        change_anchor()
        assert any(problem in one for one in report_of(log).problems)


async def test_at_most_a_hundred_problems_are_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, *(f"j{number}" for number in range(150)))
    damage(tmp_path, "UPDATE jobs SET state = 5")
    assert len(report_of(tmp_path).problems) == 100
