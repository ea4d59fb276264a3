"""How a refused call leaves over HTTP: the same `google.rpc.Status`, and the status code that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from starlette.responses import Response

from tenure.runtime.calls import CallFailed
from tenure.web.answers import json_response

DOMAIN = "tenure"
MAX_PROBLEMS = 50

HTTP_CODES: dict[int, int] = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
    code_pb2.UNAUTHENTICATED: 401,
}

_TRY_LATER = {429: "1", 503: "1"}


class Problem(NamedTuple):
    """A field that cannot be used: its path as the caller wrote it, and what is wrong, for people."""

    field: str
    description: str


class Unacceptable(CallFailed):
    """A request that the door itself refuses. `http_code` is answered instead of the code that the status implies."""

    def __init__(self, status: status_pb2.Status, http_code: int | None = None) -> None:
        super().__init__(status)
        self.http_code = http_code


def unacceptable(
    code: int,
    reason: str,
    message: str,
    *,
    problems: Sequence[Problem] = (),
    http_code: int | None = None,
) -> Unacceptable:
    """The refusal with this gRPC code and reason of the closed list."""
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    if problems:
        bad = error_details_pb2.BadRequest()
        for problem in problems[:MAX_PROBLEMS]:
            bad.field_violations.add(field=problem.field, description=problem.description)
        status.details.add().Pack(bad)
    return Unacceptable(status, http_code)


def invalid(problems: Sequence[Problem]) -> Unacceptable:
    """The refusal of a message with fields that cannot be used; at least one."""
    first = problems[0]
    text = f"{first.field}: {first.description}" if first.field else first.description
    if len(problems) > 1:
        text += f" (and {len(problems) - 1} more)"
    return unacceptable(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", text, problems=problems)


def http_code(failed: CallFailed) -> int:
    """The HTTP status code of a refusal."""
    if isinstance(failed, Unacceptable) and failed.http_code is not None:
        return failed.http_code
    return HTTP_CODES.get(failed.status.code, 500)


def reason_of(failed: CallFailed) -> str:
    """The reason of a refusal (`JOB_FINAL`); empty: it has none."""
    info = error_details_pb2.ErrorInfo()
    for detail in failed.status.details:
        if detail.Unpack(info):
            return info.reason
    return ""


def headers_of(code: int) -> dict[str, str]:
    """What goes with an error's status code."""
    headers = {"retry-after": _TRY_LATER[code]} if code in _TRY_LATER else {}
    if code == 401:
        headers["www-authenticate"] = 'Bearer realm="tenure"'
    return headers


def status_value(failed: CallFailed) -> dict[str, object]:
    """A refusal as `google.rpc.Status` in JSON, ready to be written."""
    value: dict[str, object] = {"code": failed.status.code, "message": failed.status.message}
    return {**value, "details": [json_format.MessageToDict(detail) for detail in failed.status.details]}


def native(failed: CallFailed) -> Response:
    """The response of the native door."""
    code = http_code(failed)
    return json_response(status_value(failed), code, headers_of(code))
