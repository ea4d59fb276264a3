from __future__ import annotations

from tenure.cli.text import to_duration
from tenure.cli.timeline import KEPT_UPDATES, Timeline
from tenure.events.v1 import event_pb2
from tenure.v1 import job_pb2, job_service_pb2
from tests.cli.examples import HOSTILE, S, changed, ended, mark, running_job, snapshot


def lines(timeline: Timeline, *messages: job_service_pb2.WatchJobsResponse) -> list[str]:
    return [line for message in messages for line in timeline.take(message)]


def test_a_snapshot_tells_its_history_and_events_go_on_from_there() -> None:
    timeline = Timeline(["62348"])
    told = lines(
        timeline,
        snapshot(running_job()),
        mark(),
        changed(
            "62348",
            9,
            job_pb2.JOB_STATE_RUNNING,
            job_extended=event_pb2.JobExtended(requested_time=to_duration(3600 * S)),
        ),
    )
    assert told == [
        "2021-10-04 06:42:56.235Z  62348  IN_QUEUE    Your job is now waiting in the queue!",
        "2021-10-04 06:43:01.235Z  62348  RUNNING     Your job is now running!",
        "2021-10-04 06:43:05.235Z  62348  RUNNING     extended by 1h 0m",
    ]
    assert not timeline.ended()


def told_at(job: job_pb2.Job, *positions: int) -> job_pb2.Job:
    """The job, with the updates that these events brought."""
    for update, position in zip(job.updates, positions, strict=True):
        update.position = position
    return job


def test_a_snapshot_that_is_begun_anew_tells_only_what_is_new() -> None:
    timeline = Timeline(["a"])
    told = lines(timeline, snapshot(told_at(running_job("a"), 3, 5)))
    assert len(told) == 2
    later = running_job("a")
    later.updates.add(timestamp=later.updates[1].timestamp, state=job_pb2.JOB_STATE_RUNNING, status="half way")
    later.version += 1
    told = lines(timeline, snapshot(told_at(later, 3, 5, 9)))
    assert told == ["2021-10-04 06:43:01.235Z  a  RUNNING     half way"]
    assert [update.position for update in timeline.jobs["a"].updates] == [3, 5, 9]
    # Nor what an event has told meanwhile.
    assert len(lines(timeline, changed("a", 12, job_pb2.JOB_STATE_RUNNING, "nearly"))) == 1
    later.updates.add(timestamp=later.updates[1].timestamp, state=job_pb2.JOB_STATE_RUNNING, status="nearly")
    assert lines(timeline, snapshot(told_at(later, 3, 5, 9, 12))) == []


def test_a_job_without_history_is_told_once() -> None:
    timeline = Timeline(["a"])
    bare = running_job("a")
    del bare.updates[:]
    assert len(lines(timeline, snapshot(bare), snapshot(bare))) == 1


def test_heartbeats_bring_stage_and_counters_and_a_new_attempt_starts_from_nothing() -> None:
    timeline = Timeline()
    beat = event_pb2.JobHeartbeat(
        attempt=2,
        count=5,
        stage=event_pb2.STAGE_RUN,
        progress=0.5,
        progress_message="half",
        transfer=event_pb2.Transfer(files_uploaded=3, bytes_uploaded=4096),
    )
    told = lines(timeline, snapshot(running_job("a")), changed("a", 9, job_pb2.JOB_STATE_RUNNING, job_heartbeat=beat))
    assert told[-1].endswith("attempt 2, beat 5, run, 50% half, ↑ 3 files 4.0 KiB")
    assert timeline.jobs["a"].transfer.files_uploaded == 3
    assert timeline.jobs["a"].stage == event_pb2.STAGE_RUN
    lost = event_pb2.JobRequeued(cause=event_pb2.REQUEUE_CAUSE_LOST, attempt=2, worker_id="w")
    lines(timeline, changed("a", 10, job_pb2.JOB_STATE_IN_QUEUE, "lost; trying again.", job_requeued=lost))
    assert timeline.jobs["a"].stage == event_pb2.STAGE_UNSPECIFIED
    assigned = event_pb2.JobAssigned(attempt=3, worker_id="x")
    lines(timeline, changed("a", 11, job_pb2.JOB_STATE_IN_QUEUE, job_assigned=assigned))
    assert timeline.jobs["a"].transfer == event_pb2.Transfer()


def test_it_ends_when_each_named_job_has_ended() -> None:
    timeline = Timeline(["a", "b"])
    lines(timeline, snapshot(running_job("a")), snapshot(running_job("b")), mark())
    lines(timeline, ended("b", 5))
    assert not timeline.ended()
    lines(timeline, ended("a", 6))
    assert timeline.ended()
    assert timeline.succeeded()


def test_it_has_not_succeeded_when_one_has_not() -> None:
    timeline = Timeline(["a", "b"])
    lines(timeline, snapshot(running_job("a")), snapshot(running_job("b")), ended("a", 5), ended("b", 6, well=False))
    assert timeline.ended()
    assert not timeline.succeeded()


def test_jobs_come_and_go_and_a_watch_without_names_never_ends() -> None:
    timeline = Timeline()
    specification = job_pb2.JobSpecification(name="new").SerializeToString()
    created = event_pb2.JobCreated(specification=specification, created_by="me", queue="q", command="x")
    told = lines(timeline, changed("n", 3, job_pb2.JOB_STATE_IN_QUEUE, "waiting", job_created=created))
    assert told == ["2021-10-04 06:42:59.235Z  n  IN_QUEUE    waiting"]
    assert timeline.jobs["n"].title == "new"
    lines(timeline, ended("n", 4))
    assert not timeline.ended()
    lines(timeline, job_service_pb2.WatchJobsResponse(left=job_service_pb2.JobLeft(job_id="n")))
    assert not timeline.jobs


def test_only_the_latest_updates_are_kept() -> None:
    timeline = Timeline()
    for position in range(1, 100):
        lines(timeline, changed("a", position, job_pb2.JOB_STATE_RUNNING, f"update {position}"))
    assert [update.status for update in timeline.jobs["a"].updates][-1] == "update 99"
    assert len(timeline.jobs["a"].updates) == KEPT_UPDATES


def test_no_escape_gets_through() -> None:
    timeline = Timeline()
    told = lines(
        timeline,
        snapshot(running_job("a", text=HOSTILE)),
        changed("a", 9, job_pb2.JOB_STATE_RUNNING, f"update{HOSTILE}"),
        changed("b", 9, job_pb2.JOB_STATE_RUNNING, job_assigned=event_pb2.JobAssigned(worker_id=HOSTILE)),
    )
    assert all(line.isprintable() for line in told)


def test_an_event_of_a_later_version_is_told_as_such() -> None:
    [told] = lines(Timeline(), changed("a", 9, job_pb2.JOB_STATE_RUNNING))
    assert told.endswith("an event of a kind that this version does not know")
