"""How an attempt ends, as a closed set, and what is told to stop it before.

An outcome is what the worker reports; an order is what the attempt hears from the server or from its own process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, assert_never

from tenure.v1 import job_pb2, worker_service_pb2

_TEXT_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The job's own fault: counts against its failures."""

    stage: job_pb2.AttemptStage.ValueType
    message: str
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Exit code 0, and everything the rules promise is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Given back: an interruption, never a failure."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """After a lost lease: nothing of it runs any more."""


Outcome: TypeAlias = Failed | Succeeded | Released | Stopped


class StopCause(Enum):
    """Why an attempt is to stop; the earlier ones leave less room."""

    LOST = "lost"  # the lease is over: kill, write nothing more
    ABANDON = "abandon"  # the agent stops at once: kill, release
    CANCEL = "cancel"  # the user cancelled with a grace period
    RELEASE = "release"  # drain or preemption notice
    DISCONNECTED = "disconnected"  # no contact for longer than the job allows
    EXPIRE = "expire"  # the job's time ends within the grace


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOrder:
    """One reason to stop an attempt.

    Attributes:
        at_ns: when it was given, monotonic.
        grace_ns: how long the attempt has from then on; None: no limit was named.
        deadline_us: the job's deadline as it stood then.
        reason: for people.
    """

    cause: StopCause
    at_ns: int
    reason: str
    grace_ns: int | None = None
    deadline_us: int | None = None


def to_item(lease_id: str, outcome: Outcome) -> worker_service_pb2.Report.Item:
    """The outcome as it is reported."""
    item = worker_service_pb2.Report.Item(lease_id=lease_id)
    match outcome:
        case Failed():
            item.failed.stage = outcome.stage
            item.failed.oom = outcome.oom
            item.failed.message = clip(outcome.message)
            if outcome.exit_code is not None:
                item.failed.exit_code = outcome.exit_code
            if outcome.signal is not None:
                item.failed.signal = outcome.signal
        case Succeeded():
            item.succeeded.SetInParent()
        case Released():
            item.released.reason = clip(outcome.reason)
        case Stopped():
            item.stopped.SetInParent()
        case _ as never:
            assert_never(never)
    return item


def kind_of(outcome: Outcome) -> worker_service_pb2.ReportKind.ValueType:
    """The kind under which a report of it is answered."""
    match outcome:
        case Failed():
            return worker_service_pb2.REPORT_KIND_FAILED
        case Succeeded():
            return worker_service_pb2.REPORT_KIND_SUCCEEDED
        case Released():
            return worker_service_pb2.REPORT_KIND_RELEASED
        case Stopped():
            return worker_service_pb2.REPORT_KIND_STOPPED
        case _ as never:
            assert_never(never)


def clip(text: str, limit: int = _TEXT_BYTES) -> str:
    """The text, cut to so many bytes of UTF-8 without splitting a character; lone surrogates become `?`."""
    data = text.encode("utf-8", "replace")
    return data.decode("utf-8") if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"
