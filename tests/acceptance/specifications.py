"""The jobs of the scenarios."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tenure.v1 import job_pb2
from tests.acceptance.callers import duration

DATA = Path(__file__).parent.parent / "data"
HOUR_S = 3600


def seed1(*, hours: float = 5) -> job_pb2.JobSpecification:
    """The job of the first seed, as its owner asks for it."""
    item = json.loads((DATA / "ucloud-create.json").read_text())["items"][0]
    asked = item["timeAllocation"]
    assert (asked["hours"], asked["minutes"], asked["seconds"]) == (5, 0, 0)
    return job_pb2.JobSpecification(
        application=job_pb2.NameAndVersion(**item["application"]),
        product=job_pb2.ProductReference(**item["product"]),
        replicas=item["replicas"],
        allow_duplicate_job=item["allowDuplicateJob"],
        time_allocation=duration(hours * HOUR_S),
    )


def seed2_document() -> dict[str, object]:
    """The second seed's document without its comments."""
    text = (DATA / "kelpie-job.json.txt").read_text()
    parsed = json.loads(re.sub(r"\s#.*$|^#.*$", "", text, flags=re.MULTILINE))
    assert isinstance(parsed, dict)
    return parsed


def seed2() -> job_pb2.JobSpecification:
    """The job of the second seed; its prefixes come without their last slash."""
    document = seed2_document()
    sync = document["sync"]
    assert isinstance(sync, dict)
    directions = {"download": job_pb2.SYNC_DIRECTION_DOWNLOAD, "upload": job_pb2.SYNC_DIRECTION_UPLOAD}
    rules = {
        phase: [
            job_pb2.SyncRule(
                bucket=rule["bucket"],
                prefix=rule["prefix"].rstrip("/"),
                local_path=rule["local_path"],
                direction=directions[rule["direction"]],
            )
            for rule in sync[phase]
        ]
        for phase in ("before", "during", "after")
    }
    interval, failures = document["heartbeat_interval"], document["max_failures"]
    arguments, environment = document["arguments"], document["environment"]
    assert isinstance(interval, int)
    assert isinstance(failures, int)
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    return job_pb2.JobSpecification(
        command=str(document["command"]),
        arguments=arguments,
        environment=environment,
        max_failures=failures,
        heartbeat_interval=duration(interval),
        queue=str(document["container_group_id"]),
        compression=bool(document["compression"]),
        sync=job_pb2.Sync(**rules),
    )


def simple(*, hours: float | None = None, queue: str = "", **more: object) -> job_pb2.JobSpecification:
    """A job that only needs a command."""
    specification = job_pb2.JobSpecification(command="true", queue=queue)
    if hours is not None:
        specification.time_allocation.CopyFrom(duration(hours * HOUR_S))
    specification.MergeFrom(job_pb2.JobSpecification(**more))  # type: ignore[arg-type]
    return specification
