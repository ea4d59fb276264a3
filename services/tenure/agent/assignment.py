"""An assignment as the agent reads it: the message, with every default filled in and every span in nanoseconds."""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from tenure.v1 import job_pb2, worker_service_pb2

_NS = 1_000_000_000
_EXACT = 2**53  # beyond it a number's whole value is not known exactly
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_HEARTBEAT_NS = 30 * _NS
DEFAULT_GRACE_NS = 30 * _NS
DEFAULT_ACCEPT_WITHIN_NS = 10 * _NS
DEFAULT_MAX_DISCONNECTED_NS = 600 * _NS
DEFAULT_SYNC_RETRY_BUDGET_NS = 3600 * _NS


class AssignmentUnusable(Exception):
    """The assignment cannot be taken by this worker; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A job to run, and the lease to run it with.

    Attributes:
        lease_ns: how long the lease lasts without an acknowledged beat.
        expires_at_us: end of the job's time in wall time of the server; None: none, or not known yet.
        grace_ns: between SIGINT and SIGTERM.
        max_disconnected_ns: how long the command goes on without contact; 0: until the lease is over.
        parameters: JSON of the specification's parameters; None: it has none.
        absolute_paths: normalised absolute folders of its sync rules, each once.
    """

    lease_id: str
    job_id: str
    attempt: int
    queue: str
    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    lease_ns: int
    heartbeat_ns: int
    accept_within_ns: int
    expires_at_us: int | None
    grace_ns: int
    max_disconnected_ns: int
    sync_retry_budget_ns: int
    compression: bool
    sync: job_pb2.Sync
    parameters: str | None
    opened_file: str
    absolute_paths: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the attempt: the job's id and the attempt's number, fit for a file name."""
        return f"{self.job_id}-{self.attempt}"


def decode(message: worker_service_pb2.Assignment) -> Assignment:
    """Read an assignment.

    Raises:
        AssignmentUnusable: it has no command, or an id that is none.
    """
    for what, value in (("lease_id", message.lease_id), ("job_id", message.job_id)):
        if _ID.fullmatch(value) is None:
            raise AssignmentUnusable(f"the assignment's {what} is not a valid id")
    if not message.command:
        raise AssignmentUnusable("the assignment names no command")
    spec = message.specification
    heartbeat_ns = span_ns(message.heartbeat_interval) or span_ns(spec.heartbeat_interval) or DEFAULT_HEARTBEAT_NS
    has_grace = message.HasField("termination_grace_period")
    has_limit = spec.HasField("max_disconnected")
    return Assignment(
        lease_id=message.lease_id,
        job_id=message.job_id,
        attempt=message.attempt,
        queue=message.queue,
        command=message.command,
        arguments=tuple(message.arguments),
        environment=dict(spec.environment),
        lease_ns=span_ns(message.lease) or 2 * heartbeat_ns,
        heartbeat_ns=heartbeat_ns,
        accept_within_ns=span_ns(message.accept_within) or DEFAULT_ACCEPT_WITHIN_NS,
        expires_at_us=instant_us(message.expires_at) if message.HasField("expires_at") else None,
        grace_ns=span_ns(message.termination_grace_period) if has_grace else DEFAULT_GRACE_NS,
        max_disconnected_ns=span_ns(spec.max_disconnected) if has_limit else DEFAULT_MAX_DISCONNECTED_NS,
        sync_retry_budget_ns=span_ns(spec.sync_retry_budget) or DEFAULT_SYNC_RETRY_BUDGET_NS,
        compression=spec.compression,
        sync=spec.sync,
        parameters=_parameters(spec),
        opened_file=spec.opened_file,
        absolute_paths=_absolute_paths(spec.sync),
    )


def span_ns(span: Duration) -> int:
    """A span in nanoseconds; an unset one is 0, a negative one too."""
    return max(0, span.seconds * _NS + span.nanos)


def instant_us(instant: Timestamp) -> int:
    """An instant in microseconds since the epoch."""
    return instant.seconds * 1_000_000 + instant.nanos // 1000


def _parameters(spec: job_pb2.JobSpecification) -> str | None:
    if not spec.parameters:
        return None
    values = {name: _plain(value) for name, value in sorted(spec.parameters.items())}
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Value) -> object:
    """A value as JSON shows it: whole numbers without a point, as they were written; what JSON cannot say as null."""
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            if not math.isfinite(number):
                return None
            return int(number) if number.is_integer() and abs(number) <= _EXACT else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {name: _plain(inner) for name, inner in sorted(value.struct_value.fields.items())}
        case "list_value":
            return [_plain(inner) for inner in value.list_value.values]
        case _:
            return None


def _absolute_paths(sync: job_pb2.Sync) -> tuple[str, ...]:
    rules = [*sync.before, *sync.during, *sync.after]
    return tuple(sorted({posixpath.normpath(rule.local_path) for rule in rules if rule.local_path.startswith("/")}))
