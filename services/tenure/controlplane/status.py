"""How every refusal leaves: a `google.rpc.Status` with one `ErrorInfo`, and a `BadRequest` where fields are at fault.

The gRPC code follows from the reason by the table below. Nothing here ever looks at the text of an exception: what a
caller reads was written for callers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2

from tenure.domain.errors import Reason, Refused
from tenure.store.store import (
    BackupFailed,
    CommitOutcomeUnknown,
    Conflict,
    DuplicateSpecification,
    StorageFull,
    StorageReadOnly,
    StoreError,
)

DOMAIN = "tenure"
DETAILS_KEY = "grpc-status-details-bin"
MAX_VIOLATIONS = 50

# Clients take 8 KiB of trailers by default, message and details together; what is longer arrives as another error.
_MAX_DETAILS_BYTES = 4096
_MAX_MESSAGE_CHARACTERS = 1000
# Of the message on the wire, where everything but plain ASCII takes three bytes for one.
_MAX_MESSAGE_BYTES = 2000
_MAX_DESCRIPTION_CHARACTERS = 200

CODES: dict[Reason, grpc.StatusCode] = {
    Reason.MALFORMED_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_MISSING: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_NOT_RECEIVED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNSUPPORTED_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.RESUME_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.RESUME_TOKEN_TOO_OLD: grpc.StatusCode.OUT_OF_RANGE,
    Reason.LOG_REGRESSED: grpc.StatusCode.DATA_LOSS,
    Reason.CREDENTIALS_MISSING: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CREDENTIALS_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CREDENTIALS_AMBIGUOUS: grpc.StatusCode.UNAUTHENTICATED,
    Reason.ROLE_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.QUEUE_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.JOB_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.QUEUE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.PRODUCT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.APPLICATION_UNKNOWN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.DUPLICATE_JOB: grpc.StatusCode.ALREADY_EXISTS,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.WEBHOOK_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.WEBHOOK_TARGET_FORBIDDEN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.JOB_FINAL: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.JOB_STOPPING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_TIME_ALLOCATION: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.EXTENSION_UNSUPPORTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.EXTENSION_CAP: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.FEATURE_UNSUPPORTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.QUEUE_READ_ONLY: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.TIME_ALLOCATION_CAP: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.LEASE_LOST: grpc.StatusCode.ABORTED,
    Reason.HELLO_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PROTOCOL_UNSUPPORTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SESSION_SUPERSEDED: grpc.StatusCode.ABORTED,
    Reason.WORKER_CLONED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SLOW_CONSUMER: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.OUTCOME_CONFLICT: grpc.StatusCode.INVALID_ARGUMENT,
    # Shown with a worker and never the reason of a refused call; the table is total all the same.
    Reason.WORKER_SUSPECT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.WORKER_UNREACHABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.VERSION_CONFLICT: grpc.StatusCode.ABORTED,
    Reason.COMMIT_OUTCOME_UNKNOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.STORAGE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STORAGE_READ_ONLY: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.LIMIT_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.NOT_IMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.BACKUP_FAILED: grpc.StatusCode.FAILED_PRECONDITION,
}


class Violation(NamedTuple):
    """A field that breaks a rule: its path (`items[7].specification.queue`) and what the rule is, for people."""

    field: str
    description: str


class InvalidFields(Refused):
    """A message with fields that break rules; `violations` has all of them (at most 50 are kept)."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        kept = tuple(violations[:MAX_VIOLATIONS])
        first = kept[0]
        text = f"{first.field}: {first.description}" if first.field else first.description
        if len(violations) > 1:
            text += f" (and {len(violations) - 1} more)"
        super().__init__(Reason.INVALID_FIELD, text)
        self.violations = kept


class Plain(Exception):
    """An answer of a protocol that is not ours (health): a bare code and a text for callers, without details."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Status:
    """What ends a call: `abort(code, message, trailers)`."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, bytes], ...] = ()


def of_refusal(refused: Refused) -> Status:
    """The status of a refusal."""
    violations: Iterable[Violation] = ()
    if isinstance(refused, InvalidFields):
        violations = refused.violations
    elif refused.field:
        violations = (Violation(refused.field, refused.message),)
    return build(refused.reason, refused.message, violations=violations, metadata=refused.metadata)


def of_store_error(error: StoreError) -> Refused | None:
    """What an error of the store says to callers; None: it is a defect of ours."""
    match error:
        case Conflict():
            return Refused(Reason.VERSION_CONFLICT, "other changes kept coming first; read again and retry")
        case DuplicateSpecification():
            return Refused(
                Reason.DUPLICATE_JOB,
                f"job {error.job_id} has the same specification and has not ended",
                metadata={"job_id": error.job_id},
            )
        case StorageFull():
            return Refused(Reason.STORAGE_FULL, "the server's disk is full; nothing was changed, reading goes on")
        case StorageReadOnly():
            return Refused(Reason.STORAGE_READ_ONLY, "the server's store can only be read; nothing was changed")
        case BackupFailed():
            return Refused(Reason.BACKUP_FAILED, str(error))
        case CommitOutcomeUnknown():
            return Refused(
                Reason.COMMIT_OUTCOME_UNKNOWN,
                "whether the change was stored is unknown; retry with the same request id",
            )
        case _:
            return None


def build(
    reason: Reason,
    message: str,
    *,
    violations: Iterable[Violation] = (),
    metadata: dict[str, str] | None = None,
) -> Status:
    """The status of a reason.

    Args:
        reason: decides the code.
        message: for people; cut at 1000 characters, and sooner where they are not ASCII.
        violations: fields at fault; as many as fit into what clients accept as trailers.
        metadata: short strings for programs.
    """
    code = CODES[reason]
    message = _cut(message)
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason.value, domain=DOMAIN, metadata=metadata or {}))
    bad = error_details_pb2.BadRequest()
    room = _MAX_DETAILS_BYTES - status.ByteSize()
    for violation in violations:
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field[:_MAX_DESCRIPTION_CHARACTERS],
            description=violation.description[:_MAX_DESCRIPTION_CHARACTERS],
        )
        room -= entry.ByteSize() + 4
        if room < 0 or len(bad.field_violations) == MAX_VIOLATIONS:
            break
        bad.field_violations.append(entry)
    if bad.field_violations:
        status.details.add().Pack(bad)
    return Status(code, message, ((DETAILS_KEY, status.SerializeToString()),))


def _cut(message: str) -> str:
    """As much of a text as fits."""
    message = message[:_MAX_MESSAGE_CHARACTERS]
    if message.isascii() and message.isprintable() and "%" not in message:
        return message
    size = 0
    for index, letter in enumerate(message):
        size += 1 if " " <= letter <= "~" and letter != "%" else 3 * len(letter.encode("utf-8", "replace"))
        if size > _MAX_MESSAGE_BYTES:
            return message[:index]
    return message
