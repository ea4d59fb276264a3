"""How deliveries end that nobody takes: with their endpoint, or by their age. In small transactions, because everything
that the server commits waits for them.

An endpoint is gone from its own row on: every reading of deliveries asks for that row, and the number of an endpoint is
not given out again while anything of it is left. So what is left over, also by a crash, is never sent.
"""

from __future__ import annotations

import json

import apsw

from tenure.store.outbox import ROWS_AT_ONCE
from tenure.store.sqlite_outbox_order import order
from tenure.store.sqlite_schema import rows

# One more than all numbers that anything goes by.
NEXT_NUMBER = (
    "(SELECT 1 + max(coalesce((SELECT max(number) FROM webhooks), 0), "
    "coalesce((SELECT max(webhook) FROM deliveries), 0), coalesce((SELECT max(webhook) FROM webhook_jobs), 0)))"
)
# From number to number by the index, not row by row.
_NUMBERS = tuple(
    (
        f"WITH RECURSIVE n (number) AS (SELECT min(webhook) FROM {table} UNION ALL "  # noqa: S608
        f"SELECT (SELECT min(webhook) FROM {table} WHERE webhook > n.number) FROM n WHERE n.number IS NOT NULL) "
        "SELECT number FROM n WHERE number IS NOT NULL"
    )
    for table in ("deliveries", "webhook_jobs")
)
_DISABLED_WITH_WAITING = (
    "SELECT number FROM webhooks w WHERE disabled <> '' AND EXISTS (SELECT 1 FROM deliveries "
    "INDEXED BY deliveries_open WHERE webhook = w.number AND state = 1 AND state <> 2)"
)
_LEFT_OF = (
    "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries INDEXED BY deliveries_by_event "
    "WHERE webhook = ?1 AND NOT EXISTS (SELECT 1 FROM webhooks WHERE number = ?1) LIMIT ?2)"
)
_JOBS_LEFT_OF = (
    "DELETE FROM webhook_jobs WHERE job_id IN (SELECT job_id FROM webhook_jobs INDEXED BY webhook_jobs_by_webhook "
    "WHERE webhook = ?1 AND NOT EXISTS (SELECT 1 FROM webhooks WHERE number = ?1) LIMIT ?2)"
)
# The newest first: of each job the first that waits, which is due, goes last. So an endpoint that is enabled again
# meanwhile goes on, and in order.
_WAITING_OF_DISABLED = (
    "UPDATE deliveries SET state = 3, next_us = NULL, error = (SELECT disabled FROM webhooks WHERE number = ?1) "
    "WHERE number IN (SELECT number FROM deliveries INDEXED BY deliveries_open WHERE webhook = ?1 AND state = 1 "
    "AND state <> 2 AND (SELECT disabled FROM webhooks WHERE number = ?1) <> '' ORDER BY number DESC LIMIT ?2)"
)
_OLD = (
    "SELECT number FROM deliveries INDEXED BY deliveries_open WHERE webhook = ? AND state = 1 AND state <> 2 "
    "AND number > ? AND made_us < ? ORDER BY number LIMIT ?"
)
_GIVE_UP = (
    "UPDATE deliveries SET state = 3, next_us = NULL, error = CASE error WHEN '' THEN ? ELSE error END "
    "WHERE number IN (SELECT value FROM json_each(?)) AND state = 1 AND made_us < ? RETURNING webhook, job_id"
)
_PURGE = (
    "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries INDEXED BY deliveries_old "
    "WHERE state <> 1 AND made_us < ? ORDER BY made_us LIMIT ?)"
)


def to_sweep(connection: apsw.Connection) -> list[int]:
    """The numbers of endpoints that are gone with something left, or disabled while something waits."""
    there = {number for (number,) in rows(connection, "SELECT number FROM webhooks")}
    left = {number for sql in _NUMBERS for (number,) in rows(connection, sql)}
    return [*sorted(left - there), *(number for (number,) in rows(connection, _DISABLED_WITH_WAITING))]


def sweep(connection: apsw.Connection, swept: list[int]) -> bool:
    """End what waits for endpoints that are gone or disabled, at most ROWS_AT_ONCE of it; whether there may be more."""
    left = ROWS_AT_ONCE
    for number in swept:
        for statement in (_LEFT_OF, _JOBS_LEFT_OF, _WAITING_OF_DISABLED):
            if left:
                connection.execute(statement, (number, left))
                left -= connection.changes()
    return left == 0


def remove(connection: apsw.Connection, ids: list[str]) -> bool:
    """Forget endpoints, and what they have as far as that is little; whether there may be more."""
    gone = "DELETE FROM webhooks WHERE id IN (SELECT value FROM json_each(?)) RETURNING number"
    return sweep(connection, [number for (number,) in rows(connection, gone, (json.dumps(ids),))])


def old(connection: apsw.Connection, webhook: int, after: int, before_us: int) -> list[int]:
    """What waits for an endpoint and was made before then, the first ones behind `after`."""
    return [number for (number,) in rows(connection, _OLD, (webhook, after, before_us, ROWS_AT_ONCE))]


def give_up(connection: apsw.Connection, found: list[int], before_us: int, now_us: int, why: str) -> int:
    """Give up those of them that still wait and were made before then; returns how many."""
    given_up = rows(connection, _GIVE_UP, (why, json.dumps(found), before_us))
    for webhook, job_id in dict.fromkeys(given_up):
        order(connection, webhook, job_id, now_us)
    return len(given_up)


def purge(connection: apsw.Connection, before_us: int, limit: int) -> int:
    """See `Outbox.purge`."""
    connection.execute(_PURGE, (before_us, limit))
    return connection.changes()
