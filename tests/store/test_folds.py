from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tenure.domain import events as e
from tenure.domain.job import Avoided, Job, Lease, Progress, Settled, create
from tenure.domain.queue import Queue
from tenure.domain.states import Phase
from tenure.store.codec import DecodeError
from tenure.store.folds import job_from_bytes, job_to_bytes, queue_from_bytes, queue_to_bytes
from tests.store.making import T0, created_event

PLAIN = create("a", created_event("a"), T0)
FULL = Job(
    origin=PLAIN.origin,
    version=2**31,
    phase=Phase.STOPPING,
    last_us=T0 + 1,
    expires_us=T0 + 2,
    granted_us=3,
    attempt=4,
    worker_id="wörker",
    lease=Lease(
        lease_id="lease",
        attempt=4,
        worker_id="wörker",
        length_us=5,
        assigned_us=T0 + 6,
        started_us=T0 + 7,
        beats=8,
        stage=e.Stage.SYNC_AFTER,
        subject="flötte",
    ),
    started_us=T0 + 9,
    num_failures=10,
    num_interruptions=11,
    beats_before=12,
    last_beat_us=T0 + 13,
    progress=Progress(fraction=0.1, message="ten of a hundred"),
    not_before_us=T0 + 14,
    avoided=(Avoided(worker_id="one", until_us=T0 + 15, declines=2), Avoided(worker_id="two", until_us=T0)),
    lost_in_a_row=("three", "four"),
    stop_until_us=T0 + 16,
    settled=Settled(lease_id="before", by="AttemptFailed"),
    outcome=e.Outcome.SYSTEM,
    reason="why",
    ended_us=T0 + 17,
)


def test_every_field_of_a_full_job_differs_from_a_plain_one() -> None:
    same = [f.name for f in fields(Job) if getattr(FULL, f.name) == getattr(PLAIN, f.name)]
    assert same == ["origin"]


@pytest.mark.parametrize("job", [PLAIN, FULL])
def test_a_job_comes_back(job: Job) -> None:
    assert job_from_bytes(job_to_bytes(job), job.origin) == job


def test_the_lease_of_an_older_log_has_no_subject() -> None:
    assert FULL.lease is not None
    older = replace(FULL, lease=replace(FULL.lease, subject=""))
    assert job_from_bytes(job_to_bytes(older), older.origin) == older
    assert len(job_to_bytes(older)) == len(job_to_bytes(FULL)) - 4 - len("flötte".encode())


@pytest.mark.parametrize("name", [f.name for f in fields(Job) if f.name not in ("origin", "attempt", "worker_id")])
def test_each_field_changes_the_bytes_and_comes_back(name: str) -> None:
    value = getattr(FULL, name)
    if name == "lease":
        value = replace(value, attempt=PLAIN.attempt, worker_id=PLAIN.worker_id)
    job = replace(PLAIN, **{name: value})
    assert job_to_bytes(job) != job_to_bytes(PLAIN)
    assert job_from_bytes(job_to_bytes(job), job.origin) == job


def test_a_job_is_small() -> None:
    assert len(job_to_bytes(PLAIN)) < 120


@pytest.mark.parametrize("data", [b"", b"\x01", job_to_bytes(FULL)[:-5], b"\x01\x09" + job_to_bytes(PLAIN)[2:]])
def test_damaged_bytes_are_said_to_be(data: bytes) -> None:
    with pytest.raises(DecodeError, match="job a: its row is damaged"):
        job_from_bytes(data, PLAIN.origin)


def test_a_queue_comes_back() -> None:
    queue = Queue(
        name="q",
        version=5,
        configured=e.QueueConfigured(products=(e.Product(id="p", category="c", provider="v"),), read_only=True),
        paused=True,
        last_us=T0,
    )
    assert queue_from_bytes(queue_to_bytes(queue), "q", 5) == queue
    with pytest.raises(DecodeError, match="queue q: its row is damaged"):
        queue_from_bytes(b"\x01\x00", "q", 5)
