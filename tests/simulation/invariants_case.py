"""A history made ready for its judges: the log read, positions by time, requests, streams of workers put in order."""

from __future__ import annotations

import base64
import binascii
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.protobuf.message import Message

from tenure.domain import events as e
from tests.simulation.history import Beat, Boot, Call, Committing, Fault, History, Refusal, Said, Span
from tests.simulation.invariants_log import RULES
from tests.simulation.invariants_story import JobStory, Story, Tenure

SECOND_NS = 1_000_000_000
# Layout of a resume token, see `tenure.controlplane.resume`: version, log, epoch, position, end of the log, hash there.
_TOKEN = struct.Struct(">B8sIQQ8s")
# Kinds of faults that stand in the way of a commit, or of the server as a whole.
_OF_THE_DISK = "disk."
CHANGING = frozenset({"CreateJobs", "ExtendJobs", "TerminateJobs", "PauseQueues", "UpsertQueues"})


@dataclass(slots=True, eq=False)
class Stream:
    """One connection of a worker, as its four ends saw it. `ends_ns`: when something was last said on it."""

    number: int
    worker_id: str
    incarnation: str
    boot: int
    server: list[Said] = field(default_factory=list)
    worker: list[Said] = field(default_factory=list)
    begun_ns: int | None = None  # the server took its Hello
    superseded_ns: int | None = None  # the server took a newer one of the same worker


class Case:
    """One history, with what the judges look up in it."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.story = Story(history.log, RULES)
        self._durable_ns = [commit.durable_ns for commit in history.committed]
        self._lasts = [commit.last for commit in history.committed]
        self.boots: dict[int, Boot] = {boot.number: boot for boot in history.boots}

    def commit_of(self, position: int) -> Committing:
        """The commit that an event came with."""
        return self.history.committed[bisect_left(self._lasts, position)]

    def durable_ns(self, position: int) -> int:
        """When an event became durable."""
        index = bisect_left(self._lasts, position)
        return self._durable_ns[index] if index < len(self._lasts) else self.history.ended_ns

    def before(self, at_ns: int) -> int:
        """What was durable before an instant, all of that instant left out."""
        index = bisect_left(self._durable_ns, at_ns)
        return self._lasts[index - 1] if index else 0

    def until(self, at_ns: int) -> int:
        """What was durable after all of an instant."""
        index = bisect_right(self._durable_ns, at_ns)
        return self._lasts[index - 1] if index else 0

    def server_elapsed_ns(self, boot: int, begin_ns: int, end_ns: int) -> int:
        """How much the clock of a server process moved between two instants."""
        return round((end_ns - begin_ns) * self.boots[boot].rate)

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

    @cached_property
    def streams(self) -> dict[int, Stream]:
        """The connections of the workers, by number."""
        found: dict[int, Stream] = {}
        newest: dict[tuple[int, str], Stream] = {}
        for said in self.history.said:
            stream = found.get(said.stream)
            if stream is None:
                stream = found[said.stream] = Stream(said.stream, said.worker_id, said.incarnation, said.boot)
            if said.end.startswith("worker"):
                stream.worker.append(said)
                continue
            stream.server.append(said)
            stream.boot = said.boot
            message: Any = said.message
            if said.end == "server-got" and message.WhichOneof("message") == "hello":
                stream.begun_ns = said.at_ns
                older = newest.get((said.boot, said.worker_id))
                if older is not None and older.superseded_ns is None:
                    older.superseded_ns = said.at_ns
                newest[said.boot, said.worker_id] = stream
        return found

    def faults(self, prefix: str) -> Iterator[Span]:
        """When faults of a kind lasted."""
        for fault in self.history.faults:
            if fault.kind.startswith(prefix):
                yield Span(begin_ns=fault.begin_ns, end_ns=fault.end_ns)

    @cached_property
    def disk_trouble(self) -> list[Span]:
        """When the disk was slow, full or broken."""
        return list(self.faults(_OF_THE_DISK))


# Which call asks for an event.
RPC_OF: dict[type[e.Payload], str] = {
    e.JobCreated: "CreateJobs",
    e.JobExtended: "ExtendJobs",
    e.JobTerminated: "TerminateJobs",
    e.CancelRequested: "TerminateJobs",
    e.QueuePaused: "PauseQueues",
    e.QueueResumed: "PauseQueues",
}


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


__all__ = ["CHANGING", "Case", "Fault", "JobStory", "Stream", "Tenure", "position_of", "sum_of"]
