"""From a `JobSpecification` message to what the domain decides on, with every rule that spans several fields.

Rules of single fields stand in the protos and were checked before. Normalising happens in place: the message belongs
to the call.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import re2
from google.protobuf import struct_pb2

from tenure.controlplane.catalogue import Catalogue, Target
from tenure.controlplane.times import from_duration
from tenure.controlplane.webhooks.targets import TargetRules, parse_target
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Wishes, terms_for
from tenure.v1 import job_pb2

MAX_SPECIFICATION_BYTES = 128 * 1024
# Parsers of messages stop at 100 levels, of which a list takes two and an object three; and a specification that can be
# read in a request must be readable inside everything that it is sent in later.
MAX_PARAMETER_LEVELS = 32
NO_WEBHOOKS_INSIDE = TargetRules()

_BASIS = {
    job_pb2.TIME_ALLOCATION_BASIS_UNSPECIFIED: e.Basis.NONE,
    job_pb2.TIME_ALLOCATION_BASIS_CREATED: e.Basis.CREATED,
    job_pb2.TIME_ALLOCATION_BASIS_STARTED: e.Basis.STARTED,
}


def normalise(
    spec: job_pb2.JobSpecification, catalogue: Catalogue, webhooks: TargetRules = NO_WEBHOOKS_INSIDE
) -> Target:
    """Check a specification and bring it into its stored form; returns where it goes and what it runs. `webhooks` says
    where its changes may be announced.

    Raises:
        Refused: INVALID_FIELD, UNSUPPORTED_FIELD, APPLICATION_UNKNOWN, PRODUCT_NOT_FOUND, WEBHOOK_TARGET_FORBIDDEN;
            `field` is relative to the specification.
    """
    if spec.ByteSize() > MAX_SPECIFICATION_BYTES:
        raise _invalid("", f"the specification has {spec.ByteSize()} bytes, more than {MAX_SPECIFICATION_BYTES}")
    # What a newer client knows and we do not is not written down as if we had understood it.
    spec.DiscardUnknownFields()
    _refuse_unbuilt(spec)
    _check_text(spec)
    if spec.HasField("sync"):
        _check_sync(spec.sync)
    if spec.webhook:
        parse_target(spec.webhook, webhooks, "webhook")
    for name, value in spec.parameters.items():
        _check_parameter(value, f'parameters["{name}"]')
    target = catalogue.resolve(spec)
    spec.queue = target.queue
    return target


def created(
    spec: job_pb2.JobSpecification,
    target: Target,
    queue: e.QueueConfigured,
    *,
    defaults: e.Terms,
    created_by: str,
    project: str,
) -> e.JobCreated:
    """The event that creates the job of a normalised specification in a queue.

    Raises:
        Refused: what `terms_for` refuses, and durations that are none.
    """
    return e.JobCreated(
        specification=spec.SerializeToString(),
        specification_digest=digest(spec),
        allow_duplicate=not spec.HasField("allow_duplicate_job") or spec.allow_duplicate_job,
        created_by=created_by,
        project=project,
        queue=target.queue,
        priority=spec.priority,
        terms=terms_for(queue, target.product, wishes(spec), defaults),
        command=target.command,
        arguments=target.arguments,
        absolute_paths=absolute_paths(spec.sync) if spec.HasField("sync") else (),
        facets=_facets(spec),
    )


def digest(spec: job_pb2.JobSpecification) -> bytes:
    """SHA-256 over what runs: the specification less name, labels and the permission to have duplicates."""
    if not (spec.name or spec.labels or spec.HasField("allow_duplicate_job")):
        return hashlib.sha256(spec.SerializeToString(deterministic=True)).digest()
    same = job_pb2.JobSpecification()
    same.CopyFrom(spec)
    for name in ("name", "labels", "allow_duplicate_job"):
        same.ClearField(name)
    return hashlib.sha256(same.SerializeToString(deterministic=True)).digest()


def wishes(spec: job_pb2.JobSpecification) -> Wishes:
    """What a specification asks of its queue.

    Raises:
        Refused: INVALID_FIELD for a duration that is none.
    """

    def span(field: str) -> int | None:
        return from_duration(getattr(spec, field), field) if spec.HasField(field) else None  # type: ignore[arg-type]

    backoff = spec.retry_backoff if spec.HasField("retry_backoff") else None
    for field in ("max_disconnected", "sync_retry_budget"):
        span(field)
    return Wishes(
        time_allocation_us=span("time_allocation"),
        basis=_BASIS[spec.time_allocation_basis],
        heartbeat_interval_us=span("heartbeat_interval"),
        max_failures=spec.max_failures if spec.HasField("max_failures") else None,
        retry_initial_us=from_duration(backoff.initial, "retry_backoff.initial")
        if backoff and backoff.HasField("initial")
        else None,
        retry_maximum_us=from_duration(backoff.maximum, "retry_backoff.maximum")
        if backoff and backoff.HasField("maximum")
        else None,
        termination_grace_period_us=span("termination_grace_period"),
        uses_sync=spec.HasField("sync") and bool(spec.sync.before or spec.sync.during or spec.sync.after),
        uses_compression=spec.compression,
    )


def absolute_paths(sync: job_pb2.Sync) -> tuple[str, ...]:
    """The absolute folders of all rules, each once, without a last slash."""
    paths = {
        rule.local_path.rstrip("/")
        for rules in (sync.before, sync.during, sync.after)
        for rule in rules
        if rule.local_path.startswith("/")
    }
    return tuple(sorted(paths))


def _facets(spec: job_pb2.JobSpecification) -> e.Facets:
    return e.Facets(
        name=spec.name,
        labels=tuple(sorted(spec.labels.items())) if spec.labels else (),
        application_name=spec.application.name,
        application_version=spec.application.version,
        product_id=spec.product.id,
        product_category=spec.product.category,
        product_provider=spec.product.provider,
    )


def _refuse_unbuilt(spec: job_pb2.JobSpecification) -> None:
    asked = None
    if spec.replicas > 1:
        asked = "replicas", "more than one replica"
    elif spec.ssh_enabled:
        asked = "ssh_enabled", "access by SSH"
    elif spec.restart_on_exit:
        asked = "restart_on_exit", "a restart after exit"
    elif spec.resources:
        asked = "resources", "attached resources"
    if asked:
        raise Refused(Reason.UNSUPPORTED_FIELD, f"{asked[1]}: not supported yet", field=asked[0])


def _check_text(spec: job_pb2.JobSpecification) -> None:
    if "\0" in spec.command:
        raise _invalid("command", "must not contain a NUL character")
    for index, argument in enumerate(spec.arguments):
        if "\0" in argument:
            raise _invalid(f"arguments[{index}]", "must not contain a NUL character")
    for name, value in spec.environment.items():
        if name.startswith("TENURE_"):
            raise _invalid(f'environment["{name}"]', "names that start with TENURE_ are set by the worker")
        if "\0" in value:
            raise _invalid(f'environment["{name}"]', "must not contain a NUL character")
    if not _printable(spec.name):
        raise _invalid("name", "must not contain control characters")
    if "\0" in spec.opened_file:
        raise _invalid("opened_file", "must not contain a NUL character")


def _check_sync(sync: job_pb2.Sync) -> None:
    download, upload = job_pb2.SYNC_DIRECTION_DOWNLOAD, job_pb2.SYNC_DIRECTION_UPLOAD
    for phase, implied in (("before", download), ("during", upload), ("after", upload)):
        for index, rule in enumerate(getattr(sync, phase)):
            path = f"sync.{phase}[{index}]"
            if rule.direction not in (job_pb2.SYNC_DIRECTION_UNSPECIFIED, implied):
                word = "DOWNLOAD" if implied == download else "UPLOAD"
                raise _invalid(f"{path}.direction", f"rules of `{phase}` are {word}")
            rule.direction = implied
            _check_prefix(rule, f"{path}.prefix")
            _check_local_path(rule.local_path, f"{path}.local_path")
            if rule.commit_marker and phase == "before":
                raise _invalid(f"{path}.commit_marker", "only uploads have a commit marker")
            for field in ("pattern", "commit_marker"):
                _check_expression(getattr(rule, field), f"{path}.{field}")
            for field in ("quiet_period", "max_wait"):
                if rule.HasField(field):
                    from_duration(getattr(rule, field), f"{path}.{field}")


def _check_prefix(rule: job_pb2.SyncRule, field: str) -> None:
    prefix = rule.prefix
    if not prefix.strip("/"):
        raise _invalid(field, "name a prefix; a whole bucket is not synced")
    if prefix.startswith("/") or "\\" in prefix or not _printable(prefix):
        raise _invalid(field, "must not begin with a slash nor contain backslashes or control characters")
    if any(segment in ("", ".", "..") for segment in prefix.rstrip("/").split("/")):
        raise _invalid(field, "must not contain empty, `.` or `..` segments")
    if not prefix.endswith("/"):
        rule.prefix = prefix + "/"


def _check_local_path(path: str, field: str) -> None:
    if not _printable(path) or "\\" in path:
        raise _invalid(field, "must not contain backslashes or control characters")
    segments = path.strip("/").split("/")
    if path.startswith("~") or any(segment in ("", "..") for segment in segments):
        raise _invalid(field, "must be a plain relative or absolute folder without empty or `..` segments")


def _check_expression(expression: str, field: str) -> None:
    if not expression:
        return
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(expression, options=options)
    except re2.error as error:
        raise _invalid(field, "is not an RE2 expression") from error


def _printable(text: str) -> bool:
    # str.isprintable also refuses the characters that turn the direction of writing.
    return text.isprintable()


def _check_parameter(value: struct_pb2.Value, field: str, level: int = 0) -> None:
    if level > MAX_PARAMETER_LEVELS:
        raise _invalid(field, f"must not be nested more than {MAX_PARAMETER_LEVELS} deep")
    inside: Iterable[struct_pb2.Value] = ()
    match value.WhichOneof("kind"):
        case "number_value":
            if not math.isfinite(value.number_value):
                raise _invalid(field, "a number must be finite")
        case "struct_value":
            inside = value.struct_value.fields.values()
        case "list_value":
            inside = value.list_value.values
    for one in inside:
        _check_parameter(one, field, level + 1)


def _invalid(field: str, text: str) -> Refused:
    return Refused(Reason.INVALID_FIELD, text, field=field)
