"""How far the sync of an attempt is, for its heartbeats."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.v1 import job_pb2


@dataclass(slots=True, kw_only=True)
class Counters:
    """Counts of one attempt; all but the last two only grow.

    Bytes are those that were sent or received: packed ones where files are stored packed. `files_pending`: what waits
    to be copied now. `files_skipped`: links, pipes and the like in the folders at the last scan, which are not copied.
    """

    files_downloaded: int = 0
    files_uploaded: int = 0
    bytes_downloaded: int = 0
    bytes_uploaded: int = 0
    errors: int = 0
    files_pending: int = 0
    files_skipped: int = 0

    def message(self) -> job_pb2.SyncCounters:
        """The counts as a heartbeat carries them."""
        return job_pb2.SyncCounters(
            files_downloaded=self.files_downloaded,
            files_uploaded=self.files_uploaded,
            bytes_downloaded=self.bytes_downloaded,
            bytes_uploaded=self.bytes_uploaded,
            files_pending=self.files_pending,
            errors=self.errors,
        )
