"""Adds the golden files that are missing: `python tests/golden/make.py`.

A golden file is a stored event as some version of Tenure wrote it, with the meaning it had. It is never written again:
what is stored must be readable for ever. A new type, or a field that matters, gets a file of its own here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from google.protobuf import json_format

from tenure.domain import events as e
from tenure.store import codec

HERE = Path(__file__).parent
T0 = 1_633_329_776_235_001
LEASE = "0192a7f0-5c3e-7d2b-9a41-3f6f2f4c8d10"
HOUR = 3_600_000_000

# name of the file → (stream, version, event)
EVENTS: dict[str, tuple[str, int, e.Payload]] = {
    "JobCreated": (
        "job/62348",
        1,
        e.JobCreated(
            specification=b"\x0a\x04demo\xff\x00",
            specification_digest=bytes(range(32)),
            allow_duplicate=True,
            created_by="user",
            project="project",
            queue="default",
            priority=-7,
            terms=e.Terms(
                time_allocation_us=5 * HOUR + 1,
                basis=e.Basis.CREATED,
                max_time_allocation_us=24 * HOUR,
                features=e.Features(time_extension=False, suspension=True, logs=False, sync=True, compression=False),
                heartbeat_interval_us=2_000_000,
                max_failures=9,
                retry_initial_us=1_500_000,
                retry_maximum_us=60_000_000,
                termination_grace_period_us=10_000_000,
                ban_us=1,
                max_lost_leases=0,
                lost_lease_window_us=2,
            ),
            command="/bin/sh",
            arguments=("-c", "echo ü"),
            absolute_paths=("/app/data/input",),
            facets=e.Facets(
                name="a name",
                labels=(("colour", "red"), ("size", "")),
                application_name="acme-web-application",
                application_version="1.0.0",
                product_id="example-compute",
                product_category="example-compute",
                product_provider="example",
            ),
        ),
    ),
    "JobCreated-bare": (
        "job/f8952c89-2f81-4c57-926f-e7f5861e6a8e",
        1,
        e.JobCreated(
            specification=b"",
            specification_digest=b"",
            allow_duplicate=False,
            created_by="u",
            project="",
            queue="q",
            priority=0,
            terms=e.Terms(),
            command="",
            arguments=(),
        ),
    ),
    "JobAssigned-subject": (
        "job/1",
        2,
        e.JobAssigned(lease_id=LEASE, attempt=1, worker_id="w-1", lease_us=60_000_000, subject="gpu-1"),
    ),
    "JobAssigned": ("job/1", 2, e.JobAssigned(lease_id=LEASE, attempt=1, worker_id="w-1", lease_us=60_000_000)),
    "AssignmentDeclined": (
        "job/1",
        3,
        e.AssignmentDeclined(
            lease_id=LEASE, attempt=1, worker_id="w-1", reason="no free slot", passed_over_until_us=T0 + 1_000_000
        ),
    ),
    "JobStarted": ("job/1", 3, e.JobStarted(lease_id=LEASE, attempt=2, worker_id="w-2", deadline_us=T0 + HOUR)),
    "JobStarted-bare": ("job/1", 3, e.JobStarted(lease_id=LEASE, attempt=1, worker_id="w-1")),
    "JobHeartbeat": (
        "job/1",
        4,
        e.JobHeartbeat(
            lease_id=LEASE,
            attempt=1,
            count=1_000_000_007,
            last_beat_us=T0 - 1,
            stage=e.Stage.SYNC_AFTER,
            progress=0.1,
            progress_message="ten of a hundred",
            transfer=e.Transfer(files_downloaded=1, files_uploaded=2, bytes_downloaded=1 << 40, bytes_uploaded=4),
        ),
    ),
    "JobHeartbeat-bare": ("job/1", 4, e.JobHeartbeat(lease_id=LEASE, attempt=1, count=1, last_beat_us=T0)),
    "JobHeartbeat-no-progress-yet": (
        "job/1",
        4,
        e.JobHeartbeat(lease_id=LEASE, attempt=1, count=1, last_beat_us=T0, progress=0.0),
    ),
    "JobHeartbeat-files-pending": (
        "job/1",
        4,
        e.JobHeartbeat(
            lease_id=LEASE,
            attempt=1,
            count=1,
            last_beat_us=T0,
            stage=e.Stage.SYNC_BEFORE,
            transfer=e.Transfer(files_downloaded=45, files_pending=15),
        ),
    ),
    "JobExtended": ("job/1", 5, e.JobExtended(requested_us=HOUR + 1)),
    "AttemptFailed": (
        "job/1",
        6,
        e.AttemptFailed(
            lease_id=LEASE,
            attempt=3,
            worker_id="w-1",
            stage=e.Stage.RUN,
            exit_code=-1,
            signal=9,
            oom=True,
            message="out of memory",
        ),
    ),
    "AttemptFailed-bare": (
        "job/1",
        6,
        e.AttemptFailed(lease_id=LEASE, attempt=1, worker_id="w-1", stage=e.Stage.UNSPECIFIED),
    ),
    "AttemptFailed-exit-code-0": (
        "job/1",
        6,
        e.AttemptFailed(lease_id=LEASE, attempt=1, worker_id="w-1", stage=e.Stage.SYNC_AFTER, exit_code=0),
    ),
    "AttemptReleased": (
        "job/1",
        6,
        e.AttemptReleased(lease_id=LEASE, attempt=1, worker_id="w-1", reason="the worker drains"),
    ),
    "LeaseExpired": (
        "job/1",
        6,
        e.LeaseExpired(lease_id=LEASE, attempt=1, worker_id="w-1", silence_us=60_000_000, suspicious=True),
    ),
    "JobRequeued": (
        "job/1",
        7,
        e.JobRequeued(
            cause=e.RequeueCause.FAILED,
            attempt=1,
            worker_id="w-1",
            reason="exit code 1",
            not_before_us=T0 + 2_000_000,
            banned_until_us=T0 + 600_000_000,
        ),
    ),
    "JobRequeued-bare": (
        "job/1",
        7,
        e.JobRequeued(cause=e.RequeueCause.LOST, attempt=1, worker_id="w-1", reason="no heartbeat for 60 s"),
    ),
    "CancelRequested": ("job/1", 8, e.CancelRequested(reason="enough", until_us=T0 + 10_000_000)),
    "JobTerminated": ("job/1", 9, e.JobTerminated(outcome=e.Outcome.SYSTEM, reason="maintenance", attempt=4)),
    "JobTerminated-bare": ("job/1", 9, e.JobTerminated(outcome=e.Outcome.COMPLETED, reason="")),
    "QueueConfigured": (
        "queue/default",
        1,
        e.QueueConfigured(
            features=e.Features(time_extension=False, suspension=True, logs=False, sync=False, compression=True),
            max_time_allocation_us=100 * HOUR,
            default_time_allocation_us=HOUR,
            basis=e.Basis.CREATED,
            products=(
                e.Product(id="p", category="c", provider="v", basis=e.Basis.STARTED, time_extension=False),
                e.Product(id="p2", category="c", provider="v"),
            ),
            read_only=True,
        ),
    ),
    "QueueConfigured-bare": ("queue/default", 2, e.QueueConfigured()),
    "QueuePaused": ("queue/default", 2, e.QueuePaused(reason="maintenance")),
    "QueuePaused-bare": ("queue/default", 2, e.QueuePaused(reason="")),
    "QueueResumed": ("queue/default", 3, e.QueueResumed()),
}


def stored(stream: str, version: int, payload: e.Payload) -> bytes:
    """The bytes of an event as this version stores it."""
    event_id = payload.lease_id if isinstance(payload, e.JobAssigned) else "0192a7f0-5c3e-7000-8000-000000000001"
    return codec.encode(
        e.NewEvent(event_id=event_id, time_us=T0, actor="user:user", payload=payload),
        stream=stream if version == 1 else "",
        request_id="request-1",
        request_digest=bytes(range(32)),
    )


def meaning(stream: str, version: int, data: bytes) -> object:
    """What stored bytes mean, as JSON of the public message."""
    event = codec.decode(data, position=17, stream=stream, version=version, time_us=T0)
    return json_format.MessageToDict(codec.to_message(event), always_print_fields_with_no_presence=True)


def main() -> None:
    """Write the files that are not there."""
    for name, (stream, version, payload) in EVENTS.items():
        path = HERE / f"{name}.json"
        if path.exists():
            continue
        data = stored(stream, version, payload)
        golden = {
            "stream": stream,
            "version": version,
            "stored": data.hex(),
            "means": meaning(stream, version, data),
        }
        path.write_text(json.dumps(golden, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        sys.stdout.write(f"made {path.name}\n")


if __name__ == "__main__":
    main()
