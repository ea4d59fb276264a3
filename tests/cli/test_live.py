from __future__ import annotations

import io

import pytest
from rich.console import Console

from tenure.cli.live import LiveTimeline, countdown
from tenure.cli.text import to_timestamp
from tenure.cli.timeline import Timeline
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2
from tests.cli.examples import HOSTILE, T0_US, S, changed, ended, running_job, snapshot


def screen(live: LiveTimeline) -> str:
    console = Console(file=io.StringIO(), width=140, height=40, markup=False, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(live.picture())
    return captured.get()


@pytest.fixture
def live() -> LiveTimeline:
    console = Console(file=io.StringIO(), width=140, height=40, force_terminal=True, color_system=None)
    return LiveTimeline(Timeline(), lambda: T0_US + 3600 * S, console)


def test_one_job_with_its_bars_and_its_history(live: LiveTimeline) -> None:
    assert "waiting for jobs" in screen(live)
    live.take(snapshot(running_job()))
    shown = screen(live)
    assert "RUNNING  web  62348" in shown
    assert "attempt 2 on worker-b · 1 failed · deadline in 4:00:00" in shown
    assert "42% step 7" in shown
    assert "━" in shown
    assert "↓ 0 files 1.5 KiB" in shown
    assert "Your job is now running!" in shown


def test_copying_is_shown_while_it_goes_on(live: LiveTimeline) -> None:
    live.take(snapshot(running_job("a")))
    beat = event_pb2.JobHeartbeat(
        stage=event_pb2.STAGE_SYNC_BEFORE, transfer=event_pb2.Transfer(files_downloaded=45, bytes_downloaded=2**20)
    )
    live.take(changed("a", 9, job_pb2.JOB_STATE_IN_QUEUE, job_heartbeat=beat))
    assert "copying input ↓ 45 files 1.0 MiB" in screen(live)
    beat.transfer.files_pending = 15
    live.take(changed("a", 10, job_pb2.JOB_STATE_IN_QUEUE, job_heartbeat=beat))
    [line] = [line for line in screen(live).splitlines() if "copying" in line]
    assert "copying input ↓ 45 files 1.0 MiB, 15 to go" in line
    assert line.count("━") == 32 * 45 // 60
    live.take(ended("a", 11))
    shown = screen(live)
    assert "SUCCESS/COMPLETED" in shown
    assert "copying" not in shown


def test_many_jobs_get_a_line_each_and_live_ones_come_first(live: LiveTimeline) -> None:
    for number in range(60):
        live.take(snapshot(running_job(f"job-{number}")))
    live.take(ended("job-0", 9))
    shown = screen(live)
    assert "job-1 " in shown
    assert "job-0 " not in shown
    assert "and 26 more" in shown


def test_a_lost_connection_is_told_until_it_is_back(live: LiveTimeline) -> None:
    live.take(snapshot(running_job()))
    live.dropped(Exception(), 1.5)
    assert "connection lost, trying again in 1.5 s" in screen(live)
    live.take(ended("62348", 9))
    assert "connection lost" not in screen(live)


def test_it_draws_until_it_is_left_and_leaves_the_last_picture() -> None:
    file = io.StringIO()
    console = Console(file=file, width=140, height=40, force_terminal=True, color_system=None)
    with LiveTimeline(Timeline(), lambda: T0_US, console) as live:
        live.take(snapshot(running_job()))
        live.take(ended("62348", 9))
    assert "Your job has completed successfully!" in file.getvalue()


def test_no_escape_gets_through(live: LiveTimeline) -> None:
    for number in range(5):
        live.take(snapshot(running_job(f"j{number}", text=HOSTILE)))
        shown = screen(live)
        assert all(each.isprintable() or each == "\n" for each in shown)


@pytest.mark.parametrize(
    ("left_us", "shown"),
    [
        (4 * 3600 * S + 59 * 60 * S + 12 * S, "4:59:12"),
        (S, "0:00:01"),
        (1, "0:00:01"),
        (0, "0:00:00"),
        (-5 * S, "0:00:00"),
        (10 * 3600 * S, "10:00:00"),
        (2 * 86_400 * S + 5 * S, "2d 00:00:05"),
    ],
)
def test_countdown(left_us: int, shown: str) -> None:
    status = job_pb2.JobStatus(expires_at=to_timestamp(T0_US + left_us))
    assert countdown(status, T0_US) == shown
    assert countdown(job_pb2.JobStatus(), T0_US) == ""
