"""Kelpie's JSON of jobs, from and to our messages. Pure.

A job is printed as Kelpie does: its five states, instants that are not set left out, `machine_id` and `webhook` null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from tenure.v1 import job_pb2
from tenure.web.fields import Fields

DEFAULT_MAX_FAILURES = 3
DEFAULT_HEARTBEAT_S = 30
STATUSES = ("pending", "running", "completed", "canceled", "failed")

# What Kelpie prints of a job and no user sets: a printed job can be sent again.
_PRINTED = (
    *("id", "user_id", "machine_id", "status", "created", "started", "completed", "canceled", "failed"),
    *("heartbeat", "num_failures", "num_heartbeats"),
)
# The six fields that Kelpie had before `sync`.
_BEFORE_SYNC = tuple(f"{what}_{part}" for what in ("input", "checkpoint", "output") for part in ("bucket", "prefix"))
_DIRECTIONS = {
    "download": job_pb2.SYNC_DIRECTION_DOWNLOAD,
    "upload": job_pb2.SYNC_DIRECTION_UPLOAD,
}
_DIRECTION_NAMES = {number: name for name, number in _DIRECTIONS.items()}
_PHASES = ("before", "during", "after")
_LIVE = frozenset({job_pb2.JOB_STATE_IN_QUEUE, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_CANCELING})


def specification_of(fields: Fields) -> job_pb2.JobSpecification:
    """The specification of a submitted job; problems are reported to `fields`."""
    interval_s = fields.whole("heartbeat_interval", least=1, most=3600) or DEFAULT_HEARTBEAT_S
    specification = job_pb2.JobSpecification(
        command=fields.text("command", required=True) or "",
        arguments=fields.texts("arguments"),
        environment=fields.mapping("environment"),
        max_failures=fields.whole("max_failures", least=1, most=1000) or DEFAULT_MAX_FAILURES,
        heartbeat_interval=duration_pb2.Duration(seconds=interval_s),
        webhook=fields.text("webhook") or "",
        queue=fields.text("container_group_id", required=True) or "",
        compression=fields.flag("compression") or False,
    )
    if (sync := fields.inside("sync")) is not None:
        specification.sync.SetInParent()
        for phase in _PHASES:
            getattr(specification.sync, phase).extend(_rule(each) for each in sync.each(phase))
        sync.rest()
    for name in _BEFORE_SYNC:
        if fields.anything(name):
            fields.report(name, "not supported; name the folder in `sync` instead")
    fields.ignore(*_PRINTED)
    fields.rest()
    return specification


def _rule(fields: Fields) -> job_pb2.SyncRule:
    direction = fields.text("direction", required=True)
    if direction is not None and direction not in _DIRECTIONS:
        fields.report("direction", "must be download or upload")
    rule = job_pb2.SyncRule(
        bucket=fields.text("bucket", required=True) or "",
        prefix=fields.text("prefix", required=True) or "",
        local_path=fields.text("local_path", required=True) or "",
        direction=_DIRECTIONS.get(direction or "", job_pb2.SYNC_DIRECTION_UNSPECIFIED),
        pattern=fields.text("pattern") or "",
    )
    fields.rest()
    return rule


def status_of(job: job_pb2.Job) -> str:
    """One of Kelpie's five states: a job that was ever given out is running until it ends."""
    match job.status.state:
        case state if state in _LIVE:
            return "running" if job.status.attempt else "pending"
        case job_pb2.JOB_STATE_SUCCESS:
            return "canceled" if job.status.outcome == job_pb2.JOB_OUTCOME_CANCELLED else "completed"
        case _:
            return "failed"


def job_value(job: job_pb2.Job) -> dict[str, Any]:
    """A job as Kelpie prints it. It needs `updates`, `attempts` and `resolved_application`."""
    specification, status = job.specification, job.status
    resolved = status.resolved_application
    name = status_of(job)
    value: dict[str, Any] = {
        "id": job.id,
        "user_id": job.owner.created_by,
        "status": name,
        "created": instant_value(job.created_at),
    }
    if job.attempts:
        value["started"] = instant_value(job.attempts[-1].assigned_at)
    if name in ("completed", "canceled", "failed") and job.updates:
        value[name] = instant_value(job.updates[-1].timestamp)
    if status.HasField("last_heartbeat_at"):
        value["heartbeat"] = instant_value(status.last_heartbeat_at)
    value |= {
        "num_failures": status.num_failures,
        "machine_id": status.machine_id or None,
        "command": resolved.command or specification.command,
        "arguments": list(resolved.arguments if resolved.command else specification.arguments),
        "environment": dict(sorted(specification.environment.items())),
        "max_failures": specification.max_failures if specification.HasField("max_failures") else DEFAULT_MAX_FAILURES,
        "heartbeat_interval": specification.heartbeat_interval.seconds
        if specification.HasField("heartbeat_interval")
        else DEFAULT_HEARTBEAT_S,
        "container_group_id": specification.queue,
        "webhook": specification.webhook or None,
        "compression": specification.compression,
        "num_heartbeats": status.num_heartbeats,
    }
    if specification.HasField("sync"):
        value["sync"] = _sync_value(specification.sync)
    return value


def instant_value(instant: timestamp_pb2.Timestamp) -> str:
    """`2024-10-20T14:08:33.000Z`."""
    milliseconds = instant.ToMilliseconds() % 1000
    return f"{instant.ToDatetime():%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def _sync_value(sync: job_pb2.Sync) -> dict[str, list[dict[str, str]]]:
    phases: dict[str, Sequence[job_pb2.SyncRule]] = {phase: getattr(sync, phase) for phase in _PHASES}
    return {phase: [_rule_value(rule) for rule in rules] for phase, rules in phases.items() if rules}


def _rule_value(rule: job_pb2.SyncRule) -> dict[str, str]:
    value = {
        "bucket": rule.bucket,
        "prefix": rule.prefix,
        "local_path": rule.local_path,
        "direction": _DIRECTION_NAMES.get(rule.direction, ""),
    }
    return {**value, "pattern": rule.pattern} if rule.pattern else value
