"""What a refused call looks like: one exception with the server's reason, for programs, and its message, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

ERROR_DOMAIN = "tenure"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """A field that broke a rule: its path in the request and what is wrong with it."""

    field: str
    description: str


class TenureError(Exception):
    """A call that was refused or could not be made.

    Attributes:
        code: the gRPC status code.
        reason: name from `ErrorReason` without its prefix, as in `JOB_FINAL`; empty when no server answered (or a
            proxy did). Reasons that this client does not know yet are passed on as they are.
        message: for people.
        metadata: what the reason says more, as in `{"job_id": …}` with `DUPLICATE_JOB`.
        field_violations: the bad fields, with `INVALID_FIELD` and its like.
        request_id: of the changing call that failed; repeating the call with it is harmless. Empty for other calls.
    """

    def __init__(
        self,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        message: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: tuple[FieldViolation, ...] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.field_violations = field_violations
        self.request_id = request_id

    def __str__(self) -> str:
        """`JOB_FINAL: The job has ended.`, with one more line a bad field."""
        lines = [f"{self.reason or self.code.name}: {self.message}"]
        lines += [f"  {violation.field}: {violation.description}" for violation in self.field_violations]
        return "\n".join(lines)


def from_rpc_error(error: grpc.RpcError, *, request_id: str = "") -> TenureError:
    """The refusal that an exception of grpc or grpc.aio stands for.

    Args:
        error: raised by a call; it is a `grpc.Call` too, as grpc raises nothing else.
        request_id: of the call, when it changes something.
    """
    call = cast(grpc.Call, error)
    reason, metadata, violations = "", {}, []
    for detail in _details(call):
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            violations += [
                FieldViolation(field=violation.field, description=violation.description)
                for violation in bad_request.field_violations
            ]
    return TenureError(
        code=call.code(),
        reason=reason,
        message=call.details() or "no reason was given",
        metadata=metadata,
        field_violations=tuple(violations),
        request_id=request_id,
    )


def _details(call: grpc.Call) -> list[any_pb2.Any]:
    """Details of the google.rpc.Status of a call; none where it has none or an unusable one."""
    try:
        status = rpc_status.from_call(call)
    except (ValueError, DecodeError):
        return []
    return [] if status is None else list(status.details)
