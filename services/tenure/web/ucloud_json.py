"""UCloud's JSON of jobs, from and to our messages. Pure.

Keys, nulls and order are those of UCloud's own documentation. What a job of ours lacks there is printed as null; what
we know and it does not is on the native door.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import duration_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.message import Message

from tenure.v1 import job_pb2
from tenure.web.fields import Fields

MAX_HOURS = 366 * 24


def specification_of(fields: Fields) -> job_pb2.JobSpecification:
    """The specification that an item of a creation asks for; problems are reported to `fields`."""
    specification = job_pb2.JobSpecification()
    if (application := fields.inside("application")) is not None:
        specification.application.name = application.text("name", required=True) or ""
        specification.application.version = application.text("version", required=True) or ""
        application.rest()
    else:
        fields.report("application", "is required")
    if (product := fields.inside("product")) is not None:
        specification.product.id = product.text("id", required=True) or ""
        specification.product.category = product.text("category", required=True) or ""
        specification.product.provider = product.text("provider", required=True) or ""
        product.rest()
    else:
        fields.report("product", "is required")
    specification.name = fields.text("name") or ""
    specification.opened_file = fields.text("openedFile") or ""
    specification.replicas = fields.whole("replicas", least=1) or 1
    # Unset stays unset: the two that are refused when true, and the one whose default is ours.
    for name, theirs in (
        ("allow_duplicate_job", "allowDuplicateJob"),
        ("restart_on_exit", "restartOnExit"),
        ("ssh_enabled", "sshEnabled"),
    ):
        if (flag := fields.flag(theirs)) is not None:
            setattr(specification, name, flag)
    for label, text in fields.mapping("labels").items():
        specification.labels[label] = text
    _parameters(specification, fields)
    if (allocation := fields.inside("timeAllocation")) is not None:
        specification.time_allocation.CopyFrom(span_of(allocation))
    fields.rest()
    return specification


def span_of(fields: Fields) -> duration_pb2.Duration:
    """A `SimpleDuration`: hours, minutes and seconds, the last two below 60; what is missing is 0."""
    hours = fields.whole("hours", least=0, most=MAX_HOURS) or 0
    minutes = fields.whole("minutes", least=0, most=59) or 0
    seconds = fields.whole("seconds", least=0, most=59) or 0
    fields.rest()
    return duration_pb2.Duration(seconds=hours * 3600 + minutes * 60 + seconds)


def _parameters(specification: job_pb2.JobSpecification, fields: Fields) -> None:
    parameters = fields.anything("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        fields.report("parameters", "must be an object")
    elif parameters:
        for name, value in parameters.items():
            try:
                specification.parameters[name].CopyFrom(json_format.ParseDict(value, struct_pb2.Value()))
            except (json_format.ParseError, ValueError, TypeError, RecursionError):
                fields.report(f"parameters.{name[:64]}", "cannot be used")
    resources = fields.anything("resources")
    if resources is not None and not isinstance(resources, list):
        fields.report("resources", "must be a list")
    elif resources:
        fields.report("resources", "attached resources are not supported yet")


def job_value(job: job_pb2.Job, *, updates: bool = True) -> dict[str, Any]:
    """A job as UCloud prints it; without `updates` their list is empty."""
    return {
        "id": job.id,
        "owner": {"createdBy": job.owner.created_by, "project": job.owner.project or None},
        "updates": [_update_value(update) for update in job.updates] if updates else [],
        "specification": _specification_value(job.specification),
        "status": _status_value(job.status),
        "createdAt": job.created_at.ToMilliseconds(),
        "output": {"outputFolder": job.output.output_folder} if job.output.output_folder else None,
        "permissions": _permissions_value(job.permissions) if job.HasField("permissions") else None,
    }


def _update_value(update: job_pb2.JobUpdate) -> dict[str, Any]:
    return {
        "state": state_name(update.state),
        "outputFolder": None,
        "status": update.status,
        "expectedState": None,
        "expectedDifferentState": None,
        "newTimeAllocation": None,
        "allowRestart": None,
        "newMounts": None,
        "timestamp": update.timestamp.ToMilliseconds(),
    }


def _specification_value(specification: job_pb2.JobSpecification) -> dict[str, Any]:
    application, product = specification.application, specification.product
    value: dict[str, Any] = {
        "application": {"name": application.name, "version": application.version}
        if specification.HasField("application")
        else None,
        "product": {"id": product.id, "category": product.category, "provider": product.provider}
        if specification.HasField("product")
        else None,
        "name": specification.name or None,
        "replicas": specification.replicas if specification.HasField("replicas") else 1,
        # Unset allows them here, other than in UCloud's documentation: what holds is printed.
        "allowDuplicateJob": not specification.HasField("allow_duplicate_job") or specification.allow_duplicate_job,
        "parameters": {name: json_format.MessageToDict(each) for name, each in specification.parameters.items()}
        or None,
        "resources": None,
        "timeAllocation": _span_value(specification.time_allocation)
        if specification.HasField("time_allocation")
        else None,
        "openedFile": specification.opened_file or None,
        "restartOnExit": specification.restart_on_exit if specification.HasField("restart_on_exit") else None,
        "sshEnabled": specification.ssh_enabled if specification.HasField("ssh_enabled") else None,
    }
    if specification.labels:
        value["labels"] = dict(sorted(specification.labels.items()))
    return value


def _span_value(span: duration_pb2.Duration) -> dict[str, int]:
    minutes, seconds = divmod(span.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return {"hours": hours, "minutes": minutes, "seconds": seconds}


def _status_value(status: job_pb2.JobStatus) -> dict[str, Any]:
    return {
        "state": state_name(status.state),
        "jobParametersJson": None,
        "startedAt": _instant_value(status, "started_at"),
        "expiresAt": _instant_value(status, "expires_at"),
        "resolvedApplication": _resolved_value(status, "resolved_application"),
        "resolvedSupport": _resolved_value(status, "resolved_support"),
        "resolvedProduct": _resolved_value(status, "resolved_product"),
        "allowRestart": False,
    }


def _instant_value(status: job_pb2.JobStatus, name: str) -> int | None:
    instant: timestamp_pb2.Timestamp = getattr(status, name)
    return instant.ToMilliseconds() if status.HasField(name) else None  # type: ignore[arg-type]


def _resolved_value(status: job_pb2.JobStatus, name: str) -> dict[str, Any] | None:
    message: Message = getattr(status, name)
    if not status.HasField(name):  # type: ignore[arg-type]
        return None
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def _permissions_value(permissions: job_pb2.JobPermissions) -> dict[str, Any]:
    def names(numbers: Any) -> list[str]:
        return [job_pb2.Permission.Name(number).removeprefix("PERMISSION_") for number in numbers]

    return {
        "myself": names(permissions.myself),
        "others": [
            {
                "entity": {"type": "project_group", "projectId": other.project, "group": ""},
                "permissions": names(other.permissions),
            }
            for other in permissions.others
        ],
    }


def state_name(state: job_pb2.JobState.ValueType) -> str:
    """`RUNNING` for JOB_STATE_RUNNING."""
    return job_pb2.JobState.Name(state).removeprefix("JOB_STATE_")
