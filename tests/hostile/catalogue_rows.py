"""What every number of the catalogue stands for, and where it is tried: all 85, so that none is forgotten in silence.

A row has cases here, or tests elsewhere that say the same with the means it needs (a clock that is moved, a disk that
is full, raw HTTP/2), or it is about something that Tenure does not have.
"""

from __future__ import annotations

from tests.hostile import (
    catalogue_folders,
    catalogue_identity,
    catalogue_jobs,
    catalogue_later,
    catalogue_streams,
    catalogue_transport,
)
from tests.hostile.catalogue import Case

CASES: list[Case] = [
    *catalogue_transport.CASES,
    *catalogue_identity.CASES,
    *catalogue_jobs.CASES,
    *catalogue_later.CASES,
    *catalogue_streams.CASES,
    *catalogue_folders.CASES,
]
