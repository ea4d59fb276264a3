"""A history made ready for its judges: the log read, positions by time, requests, streams of workers put in order."""

from __future__ import annotations

import base64
import binascii
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf.message import Message

from tenure.domain import events as e
from tenure.v1 import worker_service_pb2
from tests.simulation.history import (
    AgentLife,
    Beat,
    Boot,
    Call,
    Committing,
    Execution,
    History,
    Refusal,
    Said,
    Span,
)
from tests.simulation.invariants_connections import Stream as Stream
from tests.simulation.invariants_connections import streams_of
from tests.simulation.invariants_log import RULES
from tests.simulation.invariants_story import Story, Tenure

SECOND_NS = 1_000_000_000
HELD = worker_service_pb2.LEASE_STATE_HELD
REVOKED = worker_service_pb2.STOP_REASON_LEASE_REVOKED
STOPPED = worker_service_pb2.REPORT_KIND_STOPPED
_OUTCOMES: dict[int, str] = {
    worker_service_pb2.REPORT_KIND_STARTED: "started",
    worker_service_pb2.REPORT_KIND_FAILED: "failed",
    worker_service_pb2.REPORT_KIND_SUCCEEDED: "succeeded",
    worker_service_pb2.REPORT_KIND_RELEASED: "released",
    STOPPED: "stopped",
}
# Layout of a resume token, see `tenure.controlplane.resume`: version, log, epoch, position, end of the log, hash there.
_TOKEN = struct.Struct(">B8sIQQ8s")
# Kinds of faults that stand in the way of a commit, or of the server as a whole.
_OF_THE_DISK = "disk."
# No flush takes longer.
SLOWEST_NS = 40 * SECOND_NS
CHANGING = frozenset({"CreateJobs", "ExtendJobs", "TerminateJobs", "PauseQueues", "UpsertQueues"})


@dataclass(slots=True, eq=False)
class Sign:
    """A sign of life of a lease, when the server took it: in virtual time, by which process, and by its clock.

    `answered`: the worker was told that the lease is held, so it may rely on that; `welcome`: by Welcome.
    `counted_ns`: what the clock showed when it counted, at the latest; None: the history does not tell. A report counts
    when its turn has come, which is behind the commits of those before it.
    """

    at_ns: int
    boot: int
    server_ns: int
    counted_ns: int | None
    answered: bool = False
    welcome: bool = False


class Case:
    """One history, with what the judges look up in it."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.story = Story(history.log, RULES)
        self._durable_ns = [commit.durable_ns for commit in history.committed]
        self._lasts = [commit.last for commit in history.committed]
        self.boots: dict[int, Boot] = {boot.number: boot for boot in history.boots}
        self.cache: dict[str, Any] = {}

    def commit_of(self, position: int) -> Committing:
        """The commit that an event came with."""
        return self.history.committed[bisect_left(self._lasts, position)]

    def durable_ns(self, position: int) -> int:
        """When an event became durable."""
        index = bisect_left(self._lasts, position)
        return self._durable_ns[index] if index < len(self._lasts) else self.history.ended_ns

    def told_ns(self, position: int) -> int:
        """When the server process that wrote an event knew that it was durable; if it never did, when it ended."""
        commit = self.commit_of(position)
        if commit.told_ns is not None:
            return commit.told_ns
        return max(commit.durable_ns, self.boots[commit.boot].ended_ns or 0)

    def granted_before(self, tenure: Tenure, at_ns: int) -> bool:
        """A lease was there before an instant."""
        return self.durable_ns(tenure.granted) < at_ns

    def before(self, at_ns: int) -> int:
        """What was durable before an instant, all of that instant left out."""
        index = bisect_left(self._durable_ns, at_ns)
        return self._lasts[index - 1] if index else 0

    def until(self, at_ns: int) -> int:
        """What was durable after all of an instant."""
        index = bisect_right(self._durable_ns, at_ns)
        return self._lasts[index - 1] if index else 0

    @cached_property
    def answered(self) -> list[tuple[Call, Message]]:
        """Changes that the server said it made, heard by the client or not."""
        found = []
        for call in self.history.calls:
            answer = call.answer if call.answer is not None else call.unsent_answer
            if answer is not None and not isinstance(answer, Refusal) and not getattr(call.request, "validate_only", 0):
                found.append((call, answer))
        return found

    @cached_property
    def requested(self) -> dict[tuple[str, str], list[e.RecordedEvent]]:
        """Events by what kind of call asked for them, and its request id."""
        found: dict[tuple[str, str], list[e.RecordedEvent]] = {}
        for event in self.history.log:
            if event.request_id and (rpc := RPC_OF.get(type(event.payload))) is not None:
                found.setdefault((rpc, event.request_id), []).append(event)
        return found

    @cached_property
    def beats_of(self) -> dict[str, list[Beat]]:
        """What was heard of each lease."""
        found: dict[str, list[Beat]] = {}
        for beat in self.history.beats:
            found.setdefault(beat.lease_id, []).append(beat)
        return found

    def heard_of(self, lease_id: str) -> list[Sign]:
        """All signs of life of a lease that the server took, in order."""
        return self._heard.get(lease_id, [])

    @cached_property
    def _heard(self) -> dict[str, list[Sign]]:
        """A beat, a report or an Accept that names the lease, and a Hello after which it was kept."""
        found: dict[str, list[Sign]] = {}
        for stream in self.streams.values():
            waiting: dict[tuple[str, str], list[Sign]] = {}
            for said in stream.server:
                message: Any = said.message
                kind = message.WhichOneof("message")
                if said.end == "server-got":
                    for what, lease_id in _named(message, kind):
                        counted_ns = None if kind == "report" else said.clock_ns
                        sign = Sign(said.at_ns, said.boot, said.clock_ns, counted_ns)
                        found.setdefault(lease_id, []).append(sign)
                        waiting.setdefault((what, lease_id), []).append(sign)
                    continue
                for what, lease_id, held in _answers(message, kind):
                    # Answers come in the order of what they answer.
                    if signs := waiting.get((what, lease_id)):
                        sign = signs.pop(0)
                        sign.answered = held
                        if sign.counted_ns is None:
                            sign.counted_ns = said.clock_ns
                if kind == "welcome":
                    for verdict in message.welcome.leases:
                        if verdict.keep:
                            sign = Sign(said.at_ns, said.boot, said.clock_ns, said.clock_ns, True, welcome=True)
                            found.setdefault(verdict.lease_id, []).append(sign)
        for signs in found.values():
            signs.sort(key=lambda sign: sign.at_ns)
        return found

    @cached_property
    def streams(self) -> dict[int, Stream]:
        """The connections of the workers, by number."""
        return streams_of(self.history.said)

    def renewals_of(self, lease_id: str) -> list[tuple[int, int]]:
        """(when the worker got the answer, when it had sent the beat or Hello that is answered), of each renewal."""
        return self._talk[0].get(lease_id, [])

    @property
    def lost_at(self) -> dict[tuple[str, str, str], int]:
        """When a worker process (id, incarnation) first heard that a lease is over."""
        return self._talk[1]

    @cached_property
    def _talk(self) -> tuple[dict[str, list[tuple[int, int]]], dict[tuple[str, str, str], int]]:
        """What workers sent and got, as far as it concerns how long a lease lasts."""
        renewals: dict[str, list[tuple[int, int]]] = {}
        lost: dict[tuple[str, str, str], int] = {}
        for stream in self.streams.values():
            sent: dict[str, list[int]] = {}
            greeted_ns = 0
            for said in stream.worker:
                message: Any = said.message
                match message.WhichOneof("message"):
                    case "hello":
                        greeted_ns = said.at_ns
                    case "heartbeat":
                        for beat in message.heartbeat.beats:
                            sent.setdefault(beat.lease_id, []).append(said.at_ns)
                    case "welcome":
                        for verdict in message.welcome.leases:
                            if verdict.keep:
                                renewals.setdefault(verdict.lease_id, []).append((said.at_ns, greeted_ns))
                    case "heartbeat_ack":
                        for item in message.heartbeat_ack.items:
                            waiting = sent.get(item.lease_id)
                            if item.state == HELD and waiting:
                                renewals.setdefault(item.lease_id, []).append((said.at_ns, waiting.pop(0)))
                    case _:
                        pass
                for lease_id in _lost(said):
                    lost.setdefault((stream.worker_id, stream.incarnation, lease_id), said.at_ns)
        return renewals, lost

    @cached_property
    def _agents(self) -> dict[tuple[str, str], AgentLife]:
        return {(agent.worker_id, agent.incarnation): agent for agent in self.history.agents}

    def agent_of(self, run: Execution) -> AgentLife | None:
        """The agent process that ran a command."""
        return self._agents.get((run.worker_id, run.incarnation))

    def faults(self, prefix: str) -> Iterator[Span]:
        """When faults of a kind lasted."""
        for fault in self.history.faults:
            if fault.kind.startswith(prefix):
                yield Span(begin_ns=fault.begin_ns, end_ns=fault.end_ns)

    @cached_property
    def clock_jumps(self) -> list[Span]:
        """When a clock was set."""
        return list(self.faults("clock."))

    @cached_property
    def disk_trouble(self) -> list[Span]:
        """When the disk was slow, full or broken; a flush that began then may last on."""
        found = []
        for span in self.faults(_OF_THE_DISK):
            end_ns = span.end_ns
            if end_ns is not None:
                index = bisect_left(self._durable_ns, end_ns)
                following = self._durable_ns[index] if index < len(self._durable_ns) else end_ns
                end_ns = max(end_ns, min(following, end_ns + SLOWEST_NS))
            found.append(Span(begin_ns=span.begin_ns, end_ns=end_ns))
        return found


# Which call asks for an event.
RPC_OF: dict[type[e.Payload], str] = {
    e.JobCreated: "CreateJobs",
    e.JobExtended: "ExtendJobs",
    e.JobTerminated: "TerminateJobs",
    e.CancelRequested: "TerminateJobs",
    e.QueuePaused: "PauseQueues",
    e.QueueResumed: "PauseQueues",
}


def _named(message: Any, kind: str) -> list[tuple[str, str]]:
    """What a worker says, and of which leases."""
    match kind:
        case "heartbeat":
            return [("heartbeat", beat.lease_id) for beat in message.heartbeat.beats]
        case "report":
            return [(f"report {item.WhichOneof('outcome')}", item.lease_id) for item in message.report.items]
        case "accept":
            return [("accept", lease_id) for lease_id in message.accept.lease_ids]
        case _:
            return []


def _answers(message: Any, kind: str) -> list[tuple[str, str, bool]]:
    """What the server answers, of which leases, and whether they are held."""
    match kind:
        case "heartbeat_ack":
            return [("heartbeat", item.lease_id, item.state == HELD) for item in message.heartbeat_ack.items]
        case "report_ack":
            return [
                (f"report {_OUTCOMES.get(item.kind)}", item.lease_id, item.state == HELD and item.kind != STOPPED)
                for item in message.report_ack.items
            ]
        case "accept_ack":
            return [("accept", item.lease_id, item.state == HELD) for item in message.accept_ack.items]
        case _:
            return []


def _lost(said: Said) -> list[str]:
    """Leases of which a worker hears that they are over."""
    message: Any = said.message
    match message.WhichOneof("message"):
        case "welcome":
            return [verdict.lease_id for verdict in message.welcome.leases if not verdict.keep]
        case "heartbeat_ack":
            return [item.lease_id for item in message.heartbeat_ack.items if item.state != HELD]
        case "stop":
            return [item.lease_id for item in message.stop.items if item.reason == REVOKED]
        case _:
            return []


def position_of(token: str) -> int | None:
    """The position that a resume token stands for; None: it is none."""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    return int(_TOKEN.unpack(raw[: _TOKEN.size])[3]) if len(raw) >= _TOKEN.size else None


def sum_of(spans: list[Span], begin_ns: int, end_ns: int) -> int:
    """How much of a stretch of time lies in spans."""
    total = 0
    for span in spans:
        until = end_ns if span.end_ns is None else min(end_ns, span.end_ns)
        total += max(0, until - max(begin_ns, span.begin_ns))
    return total
