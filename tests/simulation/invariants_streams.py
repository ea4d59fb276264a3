"""What must hold of what is said on a worker's stream: that each side says what the log makes true."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from tenure.domain import events as e
from tenure.v1 import errors_pb2, worker_service_pb2
from tests.simulation.history import Said
from tests.simulation.invariants_case import HELD, REVOKED, SECOND_NS, Case, Stream
from tests.simulation.invariants_story import STOPPING, Tenure, value_at
from tests.simulation.invariants_workers import named_run

CANCEL = worker_service_pb2.STOP_REASON_CANCEL_REQUESTED

_ENDS = {
    worker_service_pb2.REPORT_KIND_FAILED: e.AttemptFailed,
    worker_service_pb2.REPORT_KIND_RELEASED: e.AttemptReleased,
    worker_service_pb2.REPORT_KIND_SUCCEEDED: e.JobTerminated,
}
_KINDS = {
    "failed": worker_service_pb2.REPORT_KIND_FAILED,
    "released": worker_service_pb2.REPORT_KIND_RELEASED,
    "succeeded": worker_service_pb2.REPORT_KIND_SUCCEEDED,
}


def one_stream_a_worker(case: Case) -> Iterator[str]:
    """Once a newer stream of a worker was welcomed, nothing that comes on the older one is carried out (1.6)."""
    for stream in case.streams.values():
        if stream.superseded_ns is None:
            continue
        for said in stream.server:
            if said.end == "server-got" and said.at_ns > stream.superseded_ns:
                yield f"{_kind(said)} of {stream.worker_id} was taken from a stream that a newer one had taken over"
                break


def hello_names_what_runs(case: Case) -> Iterator[str]:
    """A worker that connects names every lease whose command it runs (1.6)."""
    for stream in case.streams.values():
        for said in stream.worker:
            message: Any = said.message
            if said.end != "worker-sent" or message.WhichOneof("message") != "hello":
                continue
            named = {held.lease_id for held in message.hello.leases}
            for run in case.history.executions:
                if run.incarnation != stream.incarnation or run.worker_id != stream.worker_id:
                    continue
                runs = run.started_ns < said.at_ns and (run.ended_ns is None or run.ended_ns > said.at_ns)
                if runs and run.lease_id not in named:
                    yield f"{named_run(run)} runs, and the Hello of {stream.worker_id} does not name its lease"


def live_leases_are_kept(case: Case) -> Iterator[str]:
    """A worker that names a lease that the log gives to it goes on with it, after a restart too (1.6)."""
    for stream, hello, welcome in _greetings(case):
        kept = {verdict.lease_id for verdict in _message(welcome).welcome.leases if verdict.keep}
        for held in _message(hello).hello.leases:
            tenure = case.story.tenures.get(held.lease_id)
            if tenure is None or tenure.worker_id != stream.worker_id or held.lease_id in kept:
                continue
            over_ns = case.durable_ns(tenure.ended) if tenure.ended else case.history.ended_ns
            if case.durable_ns(tenure.granted) < hello.at_ns and over_ns > welcome.at_ns:
                yield f"{tenure} is live, and {stream.worker_id} was told at {welcome.at_ns / 1e9:g} s that it is over"


def held_means_held(case: Case) -> Iterator[str]:
    """Whenever the server says of a lease that it is held, it was live in the log when that was asked (promise 3)."""
    for stream in case.streams.values():
        asked: dict[str, list[int]] = {}
        for said in stream.server:
            if said.end == "server-got":
                for lease_id in _leases_asked(said):
                    asked.setdefault(lease_id, []).append(said.at_ns)
                continue
            for lease_id, held in _leases_told(said):
                # Answers come in the order of what they answer; nobody asks for that of an Accept.
                waiting = asked.get(lease_id) if _kind(said) != "accept_ack" else None
                asked_ns = waiting.pop(0) if waiting else said.at_ns
                if not held:
                    continue
                tenure = case.story.tenures.get(lease_id)
                if tenure is None or tenure.granted > said.durable:
                    yield f"{stream.worker_id} was told that it holds lease {lease_id}, which is not in the log"
                elif tenure.ended and case.told_ns(tenure.ended) < asked_ns and not _ended_by_worker(tenure):
                    yield f"{stream.worker_id} was told in {_kind(said)} that it holds {tenure}, which was over"


def _ended_by_worker(tenure: Tenure) -> bool:
    """It said so itself, and is not misled by an answer to what it had asked before."""
    end = tenure.end
    completed = isinstance(end, e.JobTerminated) and end.outcome is e.Outcome.COMPLETED
    return completed or isinstance(end, e.AttemptReleased | e.AttemptFailed)


def reports_are_answered_rightly(case: Case) -> Iterator[str]:
    """A report that is acknowledged is in the log under its own lease, and a repeat of one that was accepted is
    acknowledged again (promise 3)."""
    for stream in case.streams.values():
        asked: dict[tuple[str, int], int] = {}
        for said in stream.server:
            message: Any = said.message
            kind = message.WhichOneof("message")
            if kind == "report":
                for item in message.report.items:
                    if (number := _KINDS.get(item.WhichOneof("outcome") or "")) is not None:
                        asked[item.lease_id, number] = said.at_ns
            elif kind == "report_ack":
                for item in message.report_ack.items:
                    yield from _answered_rightly(case, stream, said, item, asked.get((item.lease_id, item.kind)))


def _answered_rightly(case: Case, stream: Stream, said: Said, item: Any, asked_ns: int | None) -> Iterator[str]:
    tenure = case.story.tenures.get(item.lease_id)
    end = _ENDS.get(item.kind)
    held = item.state == HELD and item.error == errors_pb2.ERROR_REASON_UNSPECIFIED
    name = worker_service_pb2.ReportKind.Name(item.kind)
    if item.kind == worker_service_pb2.REPORT_KIND_STARTED:
        if held and (tenure is None or not 0 < tenure.started <= said.durable):
            yield f"{name} of lease {item.lease_id} by {stream.worker_id} was acknowledged, and is not in the log"
        return
    if end is None or asked_ns is None:
        return
    accepted = tenure is not None and isinstance(tenure.end, end) and 0 < tenure.ended <= said.durable
    if held and not accepted:
        yield f"{name} of lease {item.lease_id} by {stream.worker_id} was acknowledged, and is not in the log"
    if held or not accepted or tenure is None or case.durable_ns(tenure.ended) >= asked_ns:
        return
    # A success is told by COMPLETED alone: of a job that was being cancelled it is not known what ended it.
    said_so = not isinstance(tenure.end, e.JobTerminated) or tenure.end.outcome is e.Outcome.COMPLETED
    if said_so:
        yield f"a repeat of {name} for {tenure}, which was accepted, was answered as if it had not been"


def credit_is_kept(case: Case) -> Iterator[str]:
    """The server never has more outstanding at a worker than it has slots; a slot is in use until the worker has
    reported that nothing runs in it, unless it was never told that it may begin (1.6, 2.7)."""
    accepted = {
        item.lease_id
        for stream in case.streams.values()
        for said in stream.server
        if _kind(said) == "accept_ack"
        for item in _message(said).accept_ack.items
        if item.state == HELD
    }
    for stream in case.streams.values():
        slots = 0
        busy: set[str] = set()
        confirmed: set[str] = set()
        for said in stream.server:
            message: Any = said.message
            match message.WhichOneof("message"):
                case "hello":
                    slots = message.hello.slots
                case "capacity":
                    slots = message.capacity.slots
                case "welcome":
                    busy = {verdict.lease_id for verdict in message.welcome.leases if verdict.keep}
                    # One that is kept and was never accepted may be taken back as any other.
                    confirmed = busy & accepted
                case "accept_ack":
                    confirmed |= {item.lease_id for item in message.accept_ack.items if item.state == HELD}
                    busy -= {item.lease_id for item in message.accept_ack.items if item.state != HELD}
                case "decline":
                    busy -= {item.lease_id for item in message.decline.items}
                case "report":
                    busy -= {item.lease_id for item in message.report.items if item.WhichOneof("outcome") != "started"}
                case "assignments":
                    busy = {one for one in busy if one in confirmed or not _over(case, one, said.at_ns)}
                    busy |= {item.lease_id for item in message.assignments.items}
                    if len(busy) > slots:
                        yield f"{stream.worker_id} has {slots} slots and was given {len(busy)} jobs"
                case _:
                    pass


def deadlines_are_told(case: Case) -> Iterator[str]:
    """A worker that goes on with a lease is told the deadline that the log makes; whatever it is told of one is a
    deadline that the job has or had (1.4)."""
    for stream, hello, welcome in _greetings(case):
        for verdict in _message(welcome).welcome.leases:
            tenure = case.story.tenures.get(verdict.lease_id)
            if tenure is None or not verdict.keep:
                continue
            deadlines = tenure.job.deadlines
            right = {value_at(deadlines, case.before(hello.at_ns)), value_at(deadlines, welcome.durable)}
            told = _instant_us(verdict.expires_at) if verdict.HasField("expires_at") else None
            if told not in right and told not in [value for _, value in deadlines]:
                yield f"{stream.worker_id} was told on connecting that {tenure} may last until {told}, not {right}"
            elif told not in right and tenure.ended == 0:
                yield f"{stream.worker_id} was told on connecting an old deadline of {tenure}: {told}, not {right}"


def cancels_are_told(case: Case) -> Iterator[str]:
    """A worker that connects while a job of it is being cancelled is told so on that stream (2.7)."""
    for stream, hello, welcome in _greetings(case):
        for verdict in _message(welcome).welcome.leases:
            tenure = case.story.tenures.get(verdict.lease_id)
            if tenure is None or not verdict.keep:
                continue
            phases = tenure.job.phases
            if value_at(phases, case.before(hello.at_ns)) != STOPPING:
                continue
            later = [said for said in stream.server if said.at_ns >= welcome.at_ns]
            if any(said.at_ns > welcome.at_ns + SECOND_NS for said in later) and not any(
                item.lease_id == verdict.lease_id and item.reason in (CANCEL, REVOKED)
                for said in later
                if said.end == "server-sent"
                for item in _message(said).stop.items
            ):
                yield f"{stream.worker_id} was not told on connecting that {tenure} is being cancelled"


def revoked_is_told(case: Case) -> Iterator[str]:
    """When a lease is taken from a worker that holds it, it is told at once, if it is connected and has read what
    it was sent before (1.2, 1.9/4)."""
    for stream in case.streams.values():
        held: dict[str, int] = {}
        told: set[str] = set()
        read_ns = [said.at_ns for said in stream.worker if said.end == "worker-got"]
        sent = 0
        for said in stream.server:
            sent += said.end == "server-sent"
            message: Any = said.message
            match message.WhichOneof("message"):
                case "accept_ack" | "welcome":
                    held.update((lease_id, said.at_ns) for lease_id, held_now in _leases_told(said) if held_now)
                case "stop":
                    told |= {item.lease_id for item in message.stop.items}
                case "report" | "decline":
                    for item in getattr(message, message.WhichOneof("message")).items:
                        if message.WhichOneof("message") == "decline" or item.WhichOneof("outcome") != "started":
                            held.pop(item.lease_id, None)
                case _:
                    pass
            if bisect_left(read_ns, said.at_ns) < sent:
                continue  # as long as something is on its way, more may have to wait until there is room for it
            for lease_id in [one for one in held if one not in told]:
                tenure = case.story.tenures.get(lease_id)
                if tenure is None or not tenure.ended:
                    continue
                over_ns = case.told_ns(tenure.ended)
                if held[lease_id] < over_ns and said.at_ns > over_ns + SECOND_NS and stream.superseded_ns is None:
                    yield f"{stream.worker_id} was not told that {tenure} is over"
                    del held[lease_id]


# --- the inside -------------------------------------------------------------------------------------------------------


def _greetings(case: Case) -> Iterator[tuple[Stream, Said, Said]]:
    """Streams that began, with the Hello as the server took it and the Welcome as it sent it."""
    for stream in case.streams.values():
        hello: Said | None = None
        for said in stream.server:
            kind = _message(said).WhichOneof("message")
            if kind == "hello":
                hello = said
            elif kind == "welcome" and hello is not None:
                yield stream, hello, said
                break


def _over(case: Case, lease_id: str, at_ns: int) -> bool:
    tenure: Tenure | None = case.story.tenures.get(lease_id)
    return tenure is not None and tenure.ended != 0 and case.durable_ns(tenure.ended) <= at_ns


def _leases_asked(said: Said) -> list[str]:
    """The leases that a worker's message is about."""
    message = _message(said)
    match message.WhichOneof("message"):
        case "heartbeat":
            return [beat.lease_id for beat in message.heartbeat.beats]
        case "hello":
            return [held.lease_id for held in message.hello.leases]
        case _:
            return []


def _leases_told(said: Said) -> list[tuple[str, bool]]:
    """The leases of which the server says whether they are held."""
    message = _message(said)
    match message.WhichOneof("message"):
        case "welcome":
            return [(verdict.lease_id, verdict.keep) for verdict in message.welcome.leases]
        case "accept_ack":
            return [(item.lease_id, item.state == HELD) for item in message.accept_ack.items]
        case "heartbeat_ack":
            return [(item.lease_id, item.state == HELD) for item in message.heartbeat_ack.items]
        case _:
            return []


def _message(said: Said) -> Any:
    return said.message


def _kind(said: Said) -> str:
    return str(_message(said).WhichOneof("message"))


def _instant_us(message: Any) -> int:
    return int(message.seconds) * 1_000_000 + int(message.nanos) // 1000
