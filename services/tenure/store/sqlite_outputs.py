"""The outputs of the SQLite engine: several are written in one transaction, an errand of the writer's thread."""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from tenure.store.outputs import KeptOutput
from tenure.store.sqlite_outbox import Read, Write
from tenure.store.sqlite_schema import rows

_KEEP = (
    "INSERT INTO outputs (job_id, attempt, first, data) VALUES (?, ?, ?, ?) ON CONFLICT (job_id, attempt) DO UPDATE "
    "SET first = excluded.first, data = excluded.data "
    "WHERE first + length(data) <= excluded.first + length(excluded.data)"
)


class SqliteOutputs:
    """`Outputs` in the table of `schema/outputs.sql`; see there for what the methods promise."""

    def __init__(self, write: Write, read: Read) -> None:
        self._write = write
        self._read = read

    async def keep(self, outputs: Iterable[KeptOutput]) -> None:
        """See `Outputs.keep`."""
        values = [(output.job_id, output.attempt, output.offset, output.data) for output in outputs]

        def run(connection: apsw.Connection) -> None:
            connection.executemany(_KEEP, values)

        await self._write(run)

    async def find(self, job_id: str, attempt: int) -> KeptOutput | None:
        """See `Outputs.find`."""
        sql = "SELECT first, data FROM outputs WHERE job_id = ? AND attempt = ?"
        for offset, data in await self._read(1, lambda connection: rows(connection, sql, (job_id, attempt))):
            return KeptOutput(job_id=job_id, attempt=attempt, offset=offset, data=data)
        return None
