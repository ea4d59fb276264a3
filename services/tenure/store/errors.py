"""What a store refuses or cannot do. Found by importers of the port in `tenure.store.store`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRequest:
    """The answer that was given to a request id before. `position` is the last event of that call."""

    digest: bytes
    answer: bytes
    position: int


class StoreError(Exception):
    """Something the store refuses or cannot do; the message is for the server's log, not for callers."""


class Conflict(StoreError):
    """The stream has moved on; read again and decide again."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"{stream} is at version {actual}, not {expected}")
        self.stream, self.expected, self.actual = stream, expected, actual


class DuplicateSpecification(StoreError):
    """The new job forbids duplicates (`allow_duplicate` False) and a live job of the same owner has the same digest.

    `append` is the index of the append in its unit; `job_id` the live job (it may be of the same unit).
    """

    def __init__(self, append: int, job_id: str) -> None:
        super().__init__(f"job {job_id} has the same specification")
        self.append, self.job_id = append, job_id


class RequestAnswered(StoreError):
    """The request id was used before; nothing of the unit was written."""

    def __init__(self, answered: AnsweredRequest) -> None:
        super().__init__("the request was answered before")
        self.answered = answered


class StorageFull(StoreError):
    """The disk is full; nothing of the unit was written; reading goes on."""


class StorageReadOnly(StoreError):
    """The store can only be read; nothing of the unit was written."""


class BackupFailed(StoreError):
    """No backup was made; the text says why, for whoever asked for it."""


class StoreDamaged(StoreError):
    """What was read cannot be what was written; the text says what to do."""


class CommitOutcomeUnknown(StoreError):
    """The commit may or may not be on disk. The store takes no more commits: the process is to end and start again."""
