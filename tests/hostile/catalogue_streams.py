"""Rows 31 and 61 to 74: what workers say on their streams, and who says it."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from tenure.v1 import worker_service_pb2 as pb
from tests.hostile.catalogue import CONNECT, INVALID, Case, bad, call, good
from tests.hostile.catalogue_values import MAX_INT32, MAX_INT64, MIN_INT32, MIN_INT64, NO_IDS, NO_NUMBER, some
from tests.hostile.outcome import Outcome, outcome_of
from tests.hostile.scene import Scene, Send, Sent
from tests.hostile.worker_wire import (
    About,
    Stream,
    accept,
    after,
    beat,
    first,
    hello,
    over,
    report,
    said,
    stolen,
)

SHIP = "WorkerService.ShipLogs"
LOST, CONFLICT, HELLO = "LEASE_LOST", "OUTCOME_CONFLICT", "HELLO_REQUIRED"


def ended(row: int, name: str, send: Send, reason: str, *fields: str) -> Case:
    """The stream is ended."""
    return Case(row=row, name=name, send=send, reason=reason, fields=fields)


def told(row: int, name: str, send: Send, reason: str = "", *fields: str) -> Case:
    """The worker is told, and the stream goes on."""
    return Case(row=row, name=name, send=send, reason=reason, fields=fields, open=True)


def refused(row: int, name: str, make: About, *fields: str) -> Case:
    """A message about a running attempt that is refused; the attempt goes on."""
    return told(row, name, said(make), INVALID, *fields)


def _reported(**outcome: Any) -> About:
    return lambda lease: report(lease, **outcome)


def _failed(**fields: Any) -> dict[str, Any]:
    return {"failed": {"stage": "ATTEMPT_STAGE_RUN", **fields}}


SUCCEEDED, FAILED, RELEASED = _reported(succeeded={}), _reported(**_failed()), _reported(released={"reason": "x"})
STARTED, STOPPED = _reported(started={}), _reported(stopped={})

# --- 61 to 63: who speaks ---------------------------------------------------------------------------------------------

NO_HELLOS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no-queue": ({"queues": []}, ("queues",)),
    "65-queues": ({"queues": [f"q{n}" for n in range(65)]}, ("queues",)),
    "queue": ({"queues": ["a b"]}, ("queues[0]",)),
    "slots": ({"slots": -1}, ("slots",)),
    "1025-slots": ({"slots": 1025}, ("slots",)),
    "most-slots": ({"slots": MAX_INT32}, ("slots",)),
    "65-labels": ({"labels": {f"k{n}": "" for n in range(65)}}, ("labels",)),
    "65-roots": ({"allowed_roots": ["/a"] * 65}, ("allowed_roots",)),
    "long-root": ({"allowed_roots": ["/" * 1025]}, ("allowed_roots[0]",)),
    "4097-leases": ({"leases": [{"lease_id": "a", "job_id": "b"}] * 4097}, ("leases",)),
    "blank-lease": ({"leases": [{}]}, ("leases[0].lease_id", "leases[0].job_id")),
    "hostname": ({"hostname": "x" * 257}, ("hostname",)),
    "version": ({"agent_version": "x" * 65}, ("agent_version",)),
}


async def _unknown_lease(scene: Scene) -> Outcome:
    """A worker that holds a lease which the log does not know is told to stop."""
    stream = Stream(scene, scene.fresh("worker"))
    held = {"lease_id": "ahead-of-the-log", "job_id": "standing", "attempt": 99}
    welcome = (await stream.hello(leases=[held])).welcome
    stream.close()
    assert [verdict.keep for verdict in welcome.leases] == [False]
    return Outcome(code="", reason=LOST, infos=1, domains=("tenure",), open=True)


async def _two_streams(scene: Scene) -> Outcome:
    worker_id = scene.fresh("twin")
    older, newer = Stream(scene, worker_id), Stream(scene, worker_id)
    await older.hello()
    await newer.hello()
    outcome = await older.ending()
    newer.close()
    return outcome


async def _clones(scene: Scene) -> Outcome:
    worker_id = scene.fresh("clone")
    streams: list[Stream] = []
    try:
        for number in range(40):
            streams.append(Stream(scene, worker_id))
            await streams[-1].hello(incarnation="ab"[number % 2])
    except grpc.aio.AioRpcError as error:
        return outcome_of(error)
    finally:
        for stream in streams:
            stream.close()
    return Outcome(code="OK")


SPEAKERS = [
    ended(61, "beat-first", first(beat("a")), HELLO, "hello"),
    ended(61, "goodbye-first", first({"goodbye": {}}), HELLO, "hello"),
    ended(61, "nothing-at-all", call(CONNECT), HELLO, "hello"),
    ended(61, "hello-twice", first(hello("twice"), hello("twice")), HELLO, "hello"),
    *(
        ended(61, f"version-{n}", first(hello(protocol_version=n)), "PROTOCOL_UNSUPPORTED", "hello.protocol_version")
        for n in (0, 2, -1, MAX_INT32)
    ),
    *(
        ended(61, name, first(hello(**fields)), INVALID, *(f"hello.{path}" for path in paths))
        for name, (fields, paths) in NO_HELLOS.items()
    ),
    ended(61, "garbage-later", said(lambda lease: b"\xff\xff"), "MALFORMED_REQUEST"),
    *(
        ended(62, f"{field}-{name}", first(hello(**{field: text})), INVALID, f"hello.{field}")
        for turn, field in enumerate(("worker_id", "incarnation"))
        for name, text in some(turn, NO_IDS).items()
    ),
    ended(62, "queue-of-others", first(hello("b"), who="bound-worker"), "QUEUE_NOT_ALLOWED", "hello.queues"),
    ended(62, "users-token", first(hello("u"), who="owner"), "ROLE_NOT_ALLOWED"),
    ended(63, "newer", _two_streams, "SESSION_SUPERSEDED"),
    ended(63, "clones", _clones, "WORKER_CLONED"),
]

# --- 31, 64 to 68: what is said of leases -----------------------------------------------------------------------------

# What can be said of a lease, and how it is answered.
SAYINGS: dict[str, tuple[About, str]] = {
    "beat": (beat, "heartbeat_ack"),
    "accept": (accept, "accept_ack"),
    "started": (STARTED, "report_ack"),
    "succeeded": (SUCCEEDED, "report_ack"),
    "failed": (FAILED, "report_ack"),
    "released": (RELEASED, "report_ack"),
}


def _two_at_once(lease_id: str) -> Sent:
    """Hello and Heartbeat in one message: the last of them counts."""
    both = pb.ConnectRequest(hello=pb.Hello(worker_id="w")).SerializeToString()
    last = pb.ConnectRequest(heartbeat=pb.Heartbeat(beats=[pb.Beat(lease_id=lease_id, count=3)]))
    return both + last.SerializeToString()


def _of_nobody(make: About) -> About:
    return lambda lease: make("no-such-lease")


LEASES = [
    ended(31, "nothing-first", first(b""), INVALID, "message"),
    refused(31, "nothing-later", lambda lease: b"", "message"),
    refused(31, "no-outcome", report, "report.items[0].outcome"),
    told(31, "the-last-of-two-counts", said(_two_at_once, "heartbeat_ack")),
    *(told(64, name, stolen(make, kind), LOST) for name, (make, kind) in SAYINGS.items()),
    *(told(64, f"{name}-of-nobody", said(_of_nobody(make), kind), LOST) for name, (make, kind) in SAYINGS.items()),
    told(64, "same-token-other-worker", stolen(beat, "heartbeat_ack", "worker"), LOST),
    *(told(65, name, over(make, kind), LOST) for name, (make, kind) in SAYINGS.items()),
    told(66, "lease-ahead-of-the-log", _unknown_lease, LOST),
    told(67, "succeeded-twice", after(SUCCEEDED, SUCCEEDED)),
    told(67, "failed-twice", after(FAILED, FAILED)),
    told(67, "stopped-after-the-end", over(STOPPED, "report_ack")),
    told(68, "failed-after-success", after(SUCCEEDED, FAILED), CONFLICT),
    told(68, "success-after-failure", after(FAILED, SUCCEEDED), CONFLICT),
    told(68, "released-after-success", after(SUCCEEDED, RELEASED), CONFLICT),
    told(68, "started-after-success", after(SUCCEEDED, STARTED), LOST),
]

# --- 70 to 74: numbers ------------------------------------------------------------------------------------------------

NO_BEATS: dict[str, tuple[dict[str, Any], str]] = {
    "progress-150": ({"progress": {"fraction": 1.5}}, "progress.fraction"),
    "progress-negative": ({"progress": {"fraction": -0.1}}, "progress.fraction"),
    "progress-nan": ({"progress": {"fraction": "NaN"}}, "progress.fraction"),
    "progress-infinity": ({"progress": {"fraction": "Infinity"}}, "progress.fraction"),
    "progress-huge": ({"progress": {"fraction": 1e308}}, "progress.fraction"),
    "progress-message": ({"progress": {"message": "x" * 257}}, "progress.message"),
    "count-negative": ({"count": -1}, "count"),
    # The sum over the attempts of a job must be a number that can be written down.
    "count-over": ({"count": 2**40 + 1}, "count"),
    "count-largest": ({"count": MAX_INT64}, "count"),
    "stage": ({"stage": NO_NUMBER}, "stage"),
    "blank-lease": ({"lease_id": ""}, "lease_id"),
    "long-lease": ({"lease_id": "x" * 65}, "lease_id"),
    "files-negative": ({"sync": {"files_uploaded": -1}}, "sync.files_uploaded"),
    "bytes-negative": ({"sync": {"bytes_downloaded": MIN_INT64}}, "sync.bytes_downloaded"),
}
NO_OUTCOMES: dict[str, tuple[dict[str, Any], str]] = {
    "exit-code-256": (_failed(exit_code=256), "failed.exit_code"),
    "exit-code-negative": (_failed(exit_code=-1), "failed.exit_code"),
    "exit-code-largest": (_failed(exit_code=MAX_INT32), "failed.exit_code"),
    "exit-code-smallest": (_failed(exit_code=MIN_INT32), "failed.exit_code"),
    "signal-0": (_failed(signal=0), "failed.signal"),
    "signal-65": (_failed(signal=65), "failed.signal"),
    "signal-999": (_failed(signal=999), "failed.signal"),
    "stage": (_failed(stage=NO_NUMBER), "failed.stage"),
    "message": (_failed(message="x" * 1025), "failed.message"),
    "released-for-long": ({"released": {"reason": "x" * 1025}}, "released.reason"),
}
NO_RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "tail": ({"output_tail": "AAAA" * 21_846}, "output_tail"),
    "offset": ({"output_offset": -1}, "output_offset"),
    "offset-largest": ({"output_offset": MAX_INT64}, "output_offset"),
    "count": ({"last_beat": {"count": -1}}, "last_beat.count"),
    "count-largest": ({"last_beat": {"count": MAX_INT64}}, "last_beat.count"),
    "progress": ({"last_beat": {"progress": {"fraction": "NaN"}}}, "last_beat.progress.fraction"),
    "bytes": ({"last_beat": {"sync": {"bytes_uploaded": -1}}}, "last_beat.sync.bytes_uploaded"),
}
MANY = ["a"] * 4097


def _beats(fields: dict[str, Any]) -> About:
    return lambda lease: beat(**{"lease_id": lease, **fields})


def _always(message: Sent) -> About:
    return lambda lease: message


NUMBERS = [
    *(refused(70, name, _beats(fields), f"heartbeat.beats[0].{path}") for name, (fields, path) in NO_BEATS.items()),
    told(70, "backwards", said(_beats({"count": 0, "progress": {"fraction": 0}}), "heartbeat_ack")),
    refused(70, "4097", _always({"heartbeat": {"beats": [{"lease_id": one} for one in MANY]}}), "heartbeat.beats"),
    *(
        refused(71, name, _reported(**outcome), f"report.items[0].{path}")
        for name, (outcome, path) in NO_OUTCOMES.items()
    ),
    *(
        refused(72, name, _reported(succeeded={}, **more), f"report.items[0].{path}")
        for name, (more, path) in NO_RESULTS.items()
    ),
    good(72, "shipped-for-nobody", SHIP, {"lease_id": "a", "data": "AAAA"}),
    bad(72, "shipped-too-much", SHIP, {"lease_id": "a", "data": "AAAA" * 21_846}, "data"),
    bad(72, "shipped-from-before", SHIP, {"lease_id": "a", "offset": -1}, "offset"),
    bad(72, "shipped-without-a-lease", SHIP, {"data": "AAAA"}, "lease_id"),
    *(
        refused(74, f"capacity-{slots}", _always({"capacity": {"slots": slots}}), "capacity.slots")
        for slots in (-1, 1025, MAX_INT32, MIN_INT32)
    ),
    refused(74, "nothing-accepted", _always({"accept": {}}), "accept.lease_ids"),
    refused(74, "4097-accepted", _always({"accept": {"lease_ids": MANY}}), "accept.lease_ids"),
    refused(74, "nothing-declined", _always({"decline": {}}), "decline.items"),
    refused(74, "nothing-reported", _always({"report": {}}), "report.items"),
    refused(
        74,
        "4097-reported",
        _always({"report": {"items": [{"lease_id": one, "succeeded": {}} for one in MANY]}}),
        "report.items",
    ),
]

CASES: list[Case] = [*SPEAKERS, *LEASES, *NUMBERS]
