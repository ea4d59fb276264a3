"""What a file given to `tenure jobs create -f` asks for. Pure: bytes in, specifications out.

Taken as they are:

* a job in this API's own form, as JSON or YAML: a specification, a list of them, a CreateJobs request, or a job as
  `tenure jobs get -o json` prints it;
* a UCloud bulk request, `{"type": "bulk", "items": [specification, …]}`;
* a Kelpie job, as submitted or as printed: what only a server sets is ignored, `container_group_id` is the queue.

Names may be written in camelCase or snake_case, spans of time as `"90s"`, `"1h30m"`, seconds or `{hours, minutes,
seconds}`, enum values in any case and without their prefix. A null is as if it was not there. Anything unknown is
refused, with its place: a typing error in a limit must not become "no limit".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenure.cli.filling import fill, shown
from tenure.cli.reading import DocumentError, read_values
from tenure.v1 import job_pb2, queue_service_pb2

# What Kelpie prints of a job and no user sets.
_KELPIE_IGNORED = frozenset(
    (
        *("id", "user_id", "machine_id", "status", "created", "started", "completed", "canceled", "failed"),
        *("heartbeat", "num_failures", "num_heartbeats"),
    )
)
# None of these is a name of ours: a document with one of them is a Kelpie job.
_KELPIE_SIGNS = frozenset(
    ("container_group_id", "user_id", "num_failures", "num_heartbeats", "machine_id", "canceled", "heartbeat")
)
_KELPIE_NAMES = {"container_group_id": "queue"}
_JOB_FIELDS = frozenset(field.name for field in job_pb2.Job.DESCRIPTOR.fields) | frozenset(
    field.json_name for field in job_pb2.Job.DESCRIPTOR.fields
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a document asks to create.

    Attributes:
        specifications: in the order of the document; at least one.
        project: that owns the jobs; empty: not said.
        request_id: of the call; empty: not said.
        validate_only: create nothing.
    """

    specifications: tuple[job_pb2.JobSpecification, ...]
    project: str = ""
    request_id: str = ""
    validate_only: bool = False


def read_submission(data: bytes) -> Submission:
    """What a file asks to create.

    Raises:
        DocumentError: it cannot be read, or something in it is not understood; with one line for each such place.
    """
    values = read_values(data)
    value = values[0] if len(values) == 1 else values
    problems: list[str] = []
    try:
        submission = _submission(value, problems)
    except RecursionError:
        message = "it is nested too deeply"
        raise DocumentError(message) from None
    if problems:
        raise DocumentError(*problems[:50])
    if not submission.specifications:
        message = "it holds no job"
        raise DocumentError(message)
    return submission


def read_queues(data: bytes) -> tuple[queue_service_pb2.QueueSpecification, ...]:
    """The queues of a file: a specification, a list of them, `{"items": […]}`, or queues as printed.

    Raises:
        DocumentError: as `read_submission`.
    """
    values = read_values(data)
    value: Any = values[0] if len(values) == 1 else values
    if isinstance(value, dict) and "items" in value:
        value = value["items"]
    problems: list[str] = []
    queues = []
    for place, each in _numbered(value):
        if isinstance(each, dict) and "specification" in each:
            place, each = _inside(place, "specification"), each["specification"]
        queue = queue_service_pb2.QueueSpecification()
        fill(queue, each, place, problems)
        queues.append(queue)
    if problems:
        raise DocumentError(*problems[:50])
    if not queues:
        message = "it holds no queue"
        raise DocumentError(message)
    return tuple(queues)


def _submission(value: Any, problems: list[str]) -> Submission:
    if not (isinstance(value, dict) and "items" in value):
        return Submission(
            specifications=tuple(_specification(each, place, problems) for place, each in _numbered(value))
        )
    project, request_id, validate_only = "", "", False
    items: Any = []
    for key, each in value.items():
        match key, each:
            case "items", list():
                items = each
            case "type", "bulk":
                pass
            case _, None if key != "items":
                pass
            case "project", str():
                project = each
            case (("request_id" | "requestId"), str()):
                request_id = each
            case (("validate_only" | "validateOnly"), bool()):
                validate_only = each
            case (("items" | "type" | "project" | "request_id" | "requestId" | "validate_only" | "validateOnly"), _):
                problems.append(f"{key}: {shown(each)} is not what belongs there")
            case _:
                problems.append(f"{key}: there is no such field in a bulk request")
    return Submission(
        specifications=tuple(_specification(each, f"items[{index}]", problems) for index, each in enumerate(items)),
        project=project,
        request_id=request_id,
        validate_only=validate_only,
    )


def _numbered(value: Any) -> list[tuple[str, Any]]:
    """The elements of a list with their places, or the one value with none."""
    return [(f"[{index}]", each) for index, each in enumerate(value)] if isinstance(value, list) else [("", value)]


def _specification(value: Any, place: str, problems: list[str]) -> job_pb2.JobSpecification:
    specification = job_pb2.JobSpecification()
    if isinstance(value, dict) and "specification" in value:
        # An item of our own request, or a whole job: what is beside the specification is what became of it.
        problems += [f"{_inside(place, key)}: there is no such field" for key in value if key not in _JOB_FIELDS]
        place, value = _inside(place, "specification"), value["specification"]
    elif isinstance(value, dict) and value.keys() & _KELPIE_SIGNS:
        value = _from_kelpie(value, place, problems)
    fill(specification, value, place, problems)
    return specification


def _from_kelpie(value: Mapping[str, Any], place: str, problems: list[str]) -> dict[str, Any]:
    if value.get("queue") is not None and value.get("container_group_id") is not None:
        problems.append(f"{_inside(place, 'queue')}: the container_group_id is the queue; give one of them")
    kept = {key: each for key, each in value.items() if key not in _KELPIE_IGNORED and key not in _KELPIE_NAMES}
    kept |= {ours: value[theirs] for theirs, ours in _KELPIE_NAMES.items() if value.get(theirs) is not None}
    return kept


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
