"""Why the domain refuses a command.

The reasons are the names of `tenure.v1.ErrorReason` without their prefix; a test compares the two lists.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The closed list of reasons; the gRPC code follows from the reason."""

    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    REQUEST_MISSING = "REQUEST_MISSING"
    REQUEST_NOT_RECEIVED = "REQUEST_NOT_RECEIVED"
    INVALID_FIELD = "INVALID_FIELD"
    UNSUPPORTED_FIELD = "UNSUPPORTED_FIELD"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    RESUME_TOKEN_INVALID = "RESUME_TOKEN_INVALID"
    RESUME_TOKEN_TOO_OLD = "RESUME_TOKEN_TOO_OLD"
    LOG_REGRESSED = "LOG_REGRESSED"
    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    CREDENTIALS_INVALID = "CREDENTIALS_INVALID"
    CREDENTIALS_AMBIGUOUS = "CREDENTIALS_AMBIGUOUS"
    ROLE_NOT_ALLOWED = "ROLE_NOT_ALLOWED"
    QUEUE_NOT_ALLOWED = "QUEUE_NOT_ALLOWED"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    QUEUE_NOT_FOUND = "QUEUE_NOT_FOUND"
    PRODUCT_NOT_FOUND = "PRODUCT_NOT_FOUND"
    APPLICATION_UNKNOWN = "APPLICATION_UNKNOWN"
    DUPLICATE_JOB = "DUPLICATE_JOB"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    WEBHOOK_NOT_FOUND = "WEBHOOK_NOT_FOUND"
    WEBHOOK_TARGET_FORBIDDEN = "WEBHOOK_TARGET_FORBIDDEN"
    JOB_FINAL = "JOB_FINAL"
    JOB_STOPPING = "JOB_STOPPING"
    NO_TIME_ALLOCATION = "NO_TIME_ALLOCATION"
    EXTENSION_UNSUPPORTED = "EXTENSION_UNSUPPORTED"
    EXTENSION_CAP = "EXTENSION_CAP"
    FEATURE_UNSUPPORTED = "FEATURE_UNSUPPORTED"
    QUEUE_READ_ONLY = "QUEUE_READ_ONLY"
    TIME_ALLOCATION_CAP = "TIME_ALLOCATION_CAP"
    LEASE_LOST = "LEASE_LOST"
    HELLO_REQUIRED = "HELLO_REQUIRED"
    PROTOCOL_UNSUPPORTED = "PROTOCOL_UNSUPPORTED"
    SESSION_SUPERSEDED = "SESSION_SUPERSEDED"
    WORKER_CLONED = "WORKER_CLONED"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    OUTCOME_CONFLICT = "OUTCOME_CONFLICT"
    WORKER_SUSPECT = "WORKER_SUSPECT"
    WORKER_UNREACHABLE = "WORKER_UNREACHABLE"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    COMMIT_OUTCOME_UNKNOWN = "COMMIT_OUTCOME_UNKNOWN"
    STORAGE_FULL = "STORAGE_FULL"
    STORAGE_READ_ONLY = "STORAGE_READ_ONLY"
    DRAINING = "DRAINING"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    INTERNAL = "INTERNAL"
    BACKUP_FAILED = "BACKUP_FAILED"


class Refused(Exception):
    """A command that is not carried out; nothing has changed.

    `message` is for people and may be shown to the caller; `field` is the path of the field at fault (empty: none);
    `metadata` holds short strings for programs.
    """

    def __init__(
        self, reason: Reason, message: str, *, field: str = "", metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = metadata or {}


def seconds(span_us: int) -> str:
    """A span in seconds as refusals state it, exact: "2592000", "0.25"."""
    whole, rest = divmod(span_us, 1_000_000)
    return f"{whole}.{rest:06}".rstrip("0") if rest else str(whole)


class IllegalTransition(Exception):
    """An event that the transition table does not allow: the log or the code is wrong, never the caller."""
