"""Options of the command line into values: labels, times, states, products.

Each function takes the option's name first, for the problem it raises when the text is not what it should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tenure.cli.durations import parse_duration
from tenure.cli.failures import Problem
from tenure.v1 import job_pb2


def span(option: str, text: str) -> int:
    """Microseconds of `1h30m`.

    Raises:
        Problem: it is no span of time.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Problem(f"{option}: {error}") from None


def pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    """Names and values of `NAME=VALUE`, each name once.

    Raises:
        Problem: one has no `=`, no name, or a name that another has.
    """
    found: dict[str, str] = {}
    for each in values:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise Problem(f"{option}: {each!r} is not of the form NAME=VALUE")
        if name in found:
            raise Problem(f"{option}: {name} is given twice")
        found[name] = value
    return found


def moment(option: str, text: str, now_us: int) -> int:
    """Microseconds since the epoch of a time (`2024-10-20T14:08:33Z`, `2024-10-20`; UTC unless it says otherwise) or of
    so long ago (`2h`).

    Raises:
        Problem: it is neither.
    """
    try:
        return now_us - parse_duration(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(f"{option}: {text!r} is neither a time like 2024-10-20T14:08:33Z nor a span like 2h") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return round(when.timestamp() * 1_000_000)


def state(option: str, text: str) -> job_pb2.JobState.ValueType:
    """State of `running`, `IN_QUEUE`, `in-queue`.

    Raises:
        Problem: there is no such state.
    """
    names = {
        each.name.removeprefix("JOB_STATE_"): each.number for each in job_pb2.JobState.DESCRIPTOR.values if each.number
    }
    wanted = text.strip().upper().replace("-", "_").removeprefix("JOB_STATE_")
    if wanted not in names:
        raise Problem(f"{option}: {text!r} is none of {', '.join(names).lower()}")
    return job_pb2.JobState.Value(f"JOB_STATE_{wanted}")


def product(option: str, text: str) -> job_pb2.ProductReference:
    """Product of `provider/category/id`.

    Raises:
        Problem: it has not three parts.
    """
    match text.split("/"):
        case [str(provider), str(category), str(name)] if provider and category and name:
            return job_pb2.ProductReference(provider=provider, category=category, id=name)
        case _:
            raise Problem(f"{option}: {text!r} is not of the form PROVIDER/CATEGORY/ID")


def application(option: str, text: str) -> job_pb2.NameAndVersion:
    """Application of `name@version`.

    Raises:
        Problem: it has no version.
    """
    name, _, version = text.rpartition("@")
    if not name or not version:
        raise Problem(f"{option}: {text!r} is not of the form NAME@VERSION")
    return job_pb2.NameAndVersion(name=name, version=version)


def basis(option: str, text: str) -> job_pb2.TimeAllocationBasis.ValueType:
    """Basis of `created` or `started`.

    Raises:
        Problem: it is neither.
    """
    match text.strip().lower():
        case "created":
            return job_pb2.TIME_ALLOCATION_BASIS_CREATED
        case "started":
            return job_pb2.TIME_ALLOCATION_BASIS_STARTED
        case _:
            raise Problem(f"{option}: {text!r} is neither created nor started")
