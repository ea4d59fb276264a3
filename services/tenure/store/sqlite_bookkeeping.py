"""What the writer does beside commits: requests are forgotten, tokens kept and revoked. Each in a transaction."""

from __future__ import annotations

import json

import apsw

from tenure.store.store import TokenRow

# Requests that are forgotten in one transaction, and so many are looked at for it.
PURGED_AT_ONCE = 1_000
LOOKED_AT_FOR_IT = 20_000


def purge(connection: apsw.Connection, before_us: int) -> int:
    """Forget some of the requests answered before then; fewer than PURGED_AT_ONCE: those were the last."""
    # Numbers grow with time, so the old ones come first, but for those of a time when the clock ran ahead.
    connection.execute(
        "DELETE FROM requests WHERE number IN "
        "(SELECT number FROM (SELECT number, at_us FROM requests ORDER BY number LIMIT ?) WHERE at_us < ? LIMIT ?)",
        (LOOKED_AT_FOR_IT, before_us, PURGED_AT_ONCE),
    )
    return connection.changes()


def add_token(connection: apsw.Connection, token: TokenRow) -> None:
    """See `Store.add_token`."""
    connection.execute(
        "INSERT INTO tokens (id, digest, role, subject, project, queues, created_us, revoked_us) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.digest,
            token.role,
            token.subject,
            token.project,
            json.dumps(token.queues),
            token.created_us,
            token.revoked_us,
        ),
    )


def revoke_token(connection: apsw.Connection, token_id: str, at_us: int) -> bool:
    """See `Store.revoke_token`."""
    connection.execute("UPDATE tokens SET revoked_us = ? WHERE id = ? AND revoked_us IS NULL", (at_us, token_id))
    return connection.changes() > 0
