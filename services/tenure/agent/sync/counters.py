"""How far the sync of an attempt is, for its heartbeats."""

from __future__ import annotations

from dataclasses import dataclass


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
