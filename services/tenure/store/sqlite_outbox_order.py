"""The order of a job's deliveries in the outbox of the SQLite engine: only the first that waits is ever due."""

from __future__ import annotations

import apsw

from tenure.store.sqlite_schema import one

_FIRST = "SELECT min(sequence) FROM deliveries WHERE webhook = ?1 AND job_id = ?2 AND state = 1"
_OTHERS_WAIT = (
    "UPDATE deliveries SET next_us = NULL "
    "WHERE webhook = ?1 AND job_id = ?2 AND state = 1 AND sequence > ?3 AND next_us IS NOT NULL"
)
_FIRST_IS_DUE = (
    "UPDATE deliveries SET next_us = ?4 "
    "WHERE webhook = ?1 AND job_id = ?2 AND state = 1 AND sequence = ?3 AND next_us IS NULL"
)


def order(connection: apsw.Connection, webhook: int, job_id: str, now_us: int) -> None:
    """Have the first delivery that waits of a job be due, and no other."""
    first = one(connection, _FIRST, (webhook, job_id))
    if first is not None:
        connection.execute(_OTHERS_WAIT, (webhook, job_id, first))
        connection.execute(_FIRST_IS_DUE, (webhook, job_id, first, now_us))
