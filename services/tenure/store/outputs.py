"""The store's outputs: the last of what each attempt printed, kept beside the log.

It is no event: nothing is decided on it, `verify` and `rebuild` leave it alone, and an output that a crash takes away
is only missed. Kept for as long as the store; `tests/store/contract_outputs.py` checks what every engine promises.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

KEPT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOutput:
    """The last of what an attempt printed: at most `KEPT_BYTES`, from that offset of its output to its end."""

    job_id: str
    attempt: int
    offset: int
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) > KEPT_BYTES:
            raise ValueError(f"at most {KEPT_BYTES} bytes of an output are kept, not {len(self.data)}")

    @property
    def end(self) -> int:
        """Bytes that the attempt printed."""
        return self.offset + len(self.data)


class Outputs(Protocol):
    """The port."""

    async def keep(self, outputs: Iterable[KeptOutput]) -> None:
        """Keep outputs, each in place of one of the same attempt that ends no later.

        Raises:
            StorageFull, StorageReadOnly: nothing was kept.
            CommitOutcomeUnknown: see there.
        """

    async def find(self, job_id: str, attempt: int) -> KeptOutput | None:
        """What is kept of an attempt."""
