"""What must hold of workers and of what is said between them and the server: who may start, write and go on, and that
each side says what the log makes true.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tenure.domain import events as e
from tenure.v1 import errors_pb2, worker_service_pb2
from tests.simulation.history import Execution, Said
from tests.simulation.invariants_case import SECOND_NS, Case, Stream
from tests.simulation.invariants_story import STOPPING, Tenure, value_at

HELD = worker_service_pb2.LEASE_STATE_HELD
CANCEL = worker_service_pb2.STOP_REASON_CANCEL_REQUESTED
REVOKED = worker_service_pb2.STOP_REASON_LEASE_REVOKED
# The part of a lease after which its holder writes nothing more.
FENCE = 0.8
# What it takes a worker to kill a command once it knows that it must.
KILL_NS = 2 * SECOND_NS
ROUNDING_NS = 1_000_000
# After the first signal and the wait for it, SIGTERM is given so long before SIGKILL.
LAST_STEP_NS = 10 * SECOND_NS

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


# --- commands and writes ----------------------------------------------------------------------------------------------


def starts_after_confirmation(case: Case) -> Iterator[str]:
    """A command starts only after the server has confirmed its acceptance, and after its start is in the log; so a job
    that was cancelled in the queue never starts (promise 5, 1.9/10)."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if not run.acknowledged:
            yield f"{_named(run)} started before its worker had heard that it holds the lease"
        if tenure is None or not tenure.started or case.durable_ns(tenure.started) > run.started_ns:
            yield f"{_named(run)} started, and its start was not in the log"


def input_is_complete(case: Case) -> Iterator[str]:
    """No command runs on partial input (promise 5)."""
    for run in case.history.executions:
        if not run.inputs_complete:
            yield f"{_named(run)} started before its input was complete"


def completed_means_stored(case: Case) -> Iterator[str]:
    """COMPLETED means that everything the sync rules promise is in the store (promise 5)."""
    runs = {run.lease_id: run for run in case.history.executions}
    for tenure in case.story.tenures.values():
        end = tenure.end
        if not isinstance(end, e.JobTerminated) or end.outcome is not e.Outcome.COMPLETED:
            continue
        run = runs.get(tenure.lease_id)
        if run is None:
            yield f"{tenure} is completed, and no command of it ran"
            continue
        by_ns = case.durable_ns(tenure.ended)
        for key, content in run.promised.items():
            if not any(at <= by_ns and stored == content for at, stored in case.history.object_times.get(key, ())):
                yield f"{tenure} is completed, and {key} was not stored"


def no_write_after_the_fence(case: Case) -> Iterator[str]:
    """What a worker writes to the object store is over within 0.8 of the lease, by its own clock and from the sending
    of the last beat that was acknowledged when the write began (promise 4). What was on its way when the machine
    stood still is not promised."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if tenure is None or not run.writes:
            continue
        fence_ns = round(tenure.length_us * 1000 * FENCE)
        renewals = case.renewals_of(run.lease_id)
        agent = case.agent_of(run)
        for write in run.writes:
            if write.ended_ns is None:
                continue
            known = [since for got, since in renewals if got <= write.begun_ns]
            if not known:
                yield f"{_named(run)} wrote {write.key} before any beat of it was acknowledged"
                continue
            since_ns = max(known)
            rate = 1.0 if agent is None else agent.rate
            stood = agent is not None and any(span.overlaps(since_ns, write.ended_ns) for span in agent.pauses)
            took_ns = round((write.ended_ns - since_ns) * rate)
            if not stood and took_ns > fence_ns + ROUNDING_NS:
                yield f"{_named(run)} wrote {write.key} {took_ns / 1e9:g} s after a beat, of {fence_ns / 1e9:g} s"


def no_write_of_a_lost_attempt(case: Case) -> Iterator[str]:
    """Nothing of an attempt is written once its lease has expired, so never beside a later attempt, as long as clocks
    drift by at most 2 % and the machine does not stand still (promise 4)."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if tenure is None or not isinstance(tenure.end, e.LeaseExpired):
            continue
        over_ns = case.durable_ns(tenure.ended)
        agent = case.agent_of(run)
        for write in run.writes:
            if write.ended_ns is None or write.ended_ns <= over_ns:
                continue
            if agent is None or not any(span.overlaps(write.begun_ns - 1, write.ended_ns) for span in agent.pauses):
                yield f"{_named(run)} wrote {write.key} {(write.ended_ns - over_ns) / 1e9:g} s after its lease expired"


def lost_stops(case: Case) -> Iterator[str]:
    """A worker that hears that a lease is over kills its command at once (promise 4, LEASE_LOST)."""
    heard = case.lost_at
    for run in case.history.executions:
        told_ns = heard.get((run.worker_id, run.incarnation, run.lease_id))
        if told_ns is None or told_ns < run.started_ns:
            continue
        agent = case.agent_of(run)
        until_ns = told_ns + KILL_NS
        for span in agent.pauses if agent is not None else ():
            if span.begin_ns <= until_ns:
                until_ns += (case.history.ended_ns if span.end_ns is None else span.end_ns) - span.begin_ns
        if (case.history.ended_ns if run.ended_ns is None else run.ended_ns) > until_ns:
            yield f"{_named(run)} went on after its worker was told at {told_ns / 1e9:g} s that the lease is over"


def disconnected_ends(case: Case) -> Iterator[str]:
    """A command ends once its worker had no contact for max(lease, max_disconnected), and for the way down the signals
    that the job may take (promise 4)."""
    for run in case.history.executions:
        tenure = case.story.tenures.get(run.lease_id)
        if tenure is None:
            continue
        agent = case.agent_of(run)
        terms = tenure.job.origin.terms
        limit_ns = max(tenure.length_us * 1000, run.max_disconnected_ns)
        limit_ns += terms.termination_grace_period_us * 1000 + LAST_STEP_NS + KILL_NS
        end_ns = case.history.ended_ns if run.ended_ns is None else run.ended_ns
        since_ns = run.started_ns
        contacts = [*case.renewals_of(run.lease_id), (end_ns, end_ns)]
        for got_ns, sent_ns in sorted(contacts):
            until_ns = min(got_ns, end_ns)
            stood = agent is not None and any(span.overlaps(since_ns, until_ns) for span in agent.pauses)
            if until_ns > run.started_ns and not stood and (until_ns - since_ns) * 0.97 > limit_ns:
                yield f"{_named(run)} went on for {(until_ns - since_ns) / 1e9:g} s without contact"
                break
            since_ns = max(since_ns, sent_ns)


# --- streams ----------------------------------------------------------------------------------------------------------


def one_stream_a_worker(case: Case) -> Iterator[str]:
    """Once a newer stream of a worker has begun, nothing that comes on the older one is carried out (1.6)."""
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
                    yield f"{_named(run)} runs, and the Hello of {stream.worker_id} does not name its lease"


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
    """Whenever the server says of a lease that it is held, it is live in the log (promise 3)."""
    for stream in case.streams.values():
        asked: dict[str, int] = {}
        for said in stream.server:
            if said.end == "server-got":
                asked.update(dict.fromkeys(_leases_asked(said), said.at_ns))
                continue
            for lease_id in _leases_held(said):
                tenure = case.story.tenures.get(lease_id)
                if tenure is None or tenure.granted > said.durable:
                    yield f"{stream.worker_id} was told that it holds lease {lease_id}, which is not in the log"
                elif tenure.ended and case.told_ns(tenure.ended) < asked.get(lease_id, said.at_ns):
                    yield f"{stream.worker_id} was told in {_kind(said)} that it holds {tenure}, which was over"


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
                    confirmed = set(busy)
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
    """When a lease is taken from a worker that holds it, it is told at once, if it is connected (1.2, 1.9/4)."""
    for stream in case.streams.values():
        held: dict[str, int] = {}
        told: set[str] = set()
        for said in stream.server:
            message: Any = said.message
            match message.WhichOneof("message"):
                case "accept_ack" | "welcome":
                    held.update(dict.fromkeys(_leases_held(said), said.at_ns))
                case "stop":
                    told |= {item.lease_id for item in message.stop.items}
                case "report" | "decline":
                    for item in getattr(message, message.WhichOneof("message")).items:
                        if message.WhichOneof("message") == "decline" or item.WhichOneof("outcome") != "started":
                            held.pop(item.lease_id, None)
                case _:
                    pass
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


def _leases_held(said: Said) -> list[str]:
    """The leases that the server calls held."""
    message = _message(said)
    match message.WhichOneof("message"):
        case "welcome":
            return [verdict.lease_id for verdict in message.welcome.leases if verdict.keep]
        case "accept_ack":
            return [item.lease_id for item in message.accept_ack.items if item.state == HELD]
        case "heartbeat_ack":
            return [item.lease_id for item in message.heartbeat_ack.items if item.state == HELD]
        case _:
            return []


def _message(said: Said) -> Any:
    return said.message


def _kind(said: Said) -> str:
    return str(_message(said).WhichOneof("message"))


def _instant_us(message: Any) -> int:
    return int(message.seconds) * 1_000_000 + int(message.nanos) // 1000


def _named(run: Execution) -> str:
    return f"the command of attempt {run.attempt} of job {run.job_id} on {run.worker_id}"
