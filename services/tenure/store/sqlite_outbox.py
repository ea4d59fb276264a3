"""The outbox of the SQLite engine: its writes are errands of the writer's thread, each in a transaction of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import apsw

from tenure.store.outbox import (
    Backlog,
    Batch,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Endpoint,
    Secret,
    Subscription,
    Tried,
)
from tenure.store.sqlite_outbox_ending import NEXT_NUMBER, give_up, old, purge, remove, sweep, to_sweep
from tenure.store.sqlite_outbox_order import order
from tenure.store.sqlite_schema import Value, one, rows

T = TypeVar("T")

_NAME = "webhooks"
# What is read of a delivery, in the order of `_delivery`.
_DELIVERY = (
    "d.number, w.id, d.host, d.position, d.epoch, d.job_id, d.version, d.sequence, d.type, d.state, d.attempts, "
    "d.made_us, d.next_us, d.tried_us, d.status, d.error"
)
_INSERT = (
    "INSERT OR IGNORE INTO deliveries (webhook, position, epoch, job_id, version, sequence, type, host, state, "
    "attempts, made_us, next_us, tried_us, status, error) "
    "SELECT number, ?2, ?3, ?4, ?5, ?6, ?7, host, ?8, 0, ?9, NULL, NULL, 0, ?10 FROM webhooks WHERE id = ?1"
)


class Write(Protocol):
    """Runs something in a transaction of its own."""

    async def __call__(self, run: Callable[[apsw.Connection], T]) -> T:
        """What it returned, once it is durable."""


class Read(Protocol):
    """Runs something that only reads, and about so many rows."""

    async def __call__(self, size: int, run: Callable[[apsw.Connection], T]) -> T:
        """What it returned."""


class SqliteOutbox:
    """An `Outbox` in the tables of `schema/outbox.sql`; see there for what the methods promise."""

    def __init__(self, write: Write, read: Read, long: int) -> None:
        """`long` is a number of rows that is not to be read on the loop."""
        self._write = write
        self._read = read
        self._long = long
        # Whether something of removed endpoints may be left, also from before a crash.
        self._left_over = True

    async def position(self) -> int:
        """See `Outbox.position`."""
        found: int = await self._read(1, lambda c: one(c, "SELECT position FROM outbox WHERE name = ?", (_NAME,)))
        return found

    async def endpoints(self) -> list[Endpoint]:
        """See `Outbox.endpoints`."""
        sql = (
            "SELECT id, url, host, created_by, project, event_types, disabled, created_us, secrets FROM webhooks "
            "ORDER BY number"
        )
        return [_endpoint(row) for row in await self._read(self._long, lambda c: rows(c, sql))]

    async def subscriptions(self) -> dict[str, Subscription]:
        """See `Outbox.subscriptions`."""
        sql = "SELECT j.job_id, w.id, j.sequence FROM webhook_jobs j JOIN webhooks w ON w.number = j.webhook"
        found = await self._read(self._long, lambda c: rows(c, sql))
        return {job_id: Subscription(endpoint_id=one_id, sequence=last) for job_id, one_id, last in found}

    async def put_endpoints(self, endpoints: Iterable[Endpoint], position: int, at_us: int) -> None:
        """See `Outbox.put_endpoints`."""
        kept = list(endpoints)
        await self._write(lambda connection: _put(connection, kept, position, at_us))

    async def remove_endpoints(self, ids: Iterable[str]) -> None:
        """See `Outbox.remove_endpoints`."""
        gone = list(ids)
        if await self._write(lambda connection: remove(connection, gone)):
            self._left_over = True

    async def enqueue(self, batch: Batch) -> None:
        """See `Outbox.enqueue`."""
        await self._write(lambda connection: _enqueue(connection, batch))

    async def hosts(self) -> list[str]:
        """See `Outbox.hosts`."""
        sql = "SELECT DISTINCT host FROM deliveries WHERE next_us IS NOT NULL"
        return [host for (host,) in await self._read(self._long, lambda c: rows(c, sql))]

    async def due(self, host: str, limit: int) -> list[Delivery]:
        """See `Outbox.due`."""
        sql = (
            f"SELECT {_DELIVERY} FROM deliveries d INDEXED BY deliveries_due "  # noqa: S608
            "JOIN webhooks w ON w.number = d.webhook "
            "WHERE d.host = ? AND d.next_us IS NOT NULL ORDER BY d.next_us, d.number LIMIT ?"
        )
        # What is left of removed endpoints is read as well, to be passed over.
        size = self._long if self._left_over else limit
        return [_delivery(row) for row in await self._read(size, lambda c: rows(c, sql, (host, limit)))]

    async def settle(self, tried: Sequence[Tried]) -> None:
        """See `Outbox.settle`."""
        done = list(tried)
        await self._write(lambda connection: _settle(connection, done))

    async def browse(
        self, wanted: DeliveryFilter, after: int | None, limit: int, *, descending: bool = True
    ) -> list[Delivery]:
        """See `Outbox.browse`."""
        sql, values = _browse(wanted, after, limit, descending=descending)
        return [_delivery(row) for row in await self._read(self._long, lambda c: rows(c, sql, values))]

    async def backlogs(self) -> dict[str, Backlog]:
        """See `Outbox.backlogs`."""
        sql = (
            "SELECT w.id, d.state, count(*) FROM deliveries d INDEXED BY deliveries_open "
            "JOIN webhooks w ON w.number = d.webhook WHERE d.state <> 2 GROUP BY d.webhook, d.state"
        )
        found: dict[str, dict[int, int]] = {}
        for endpoint_id, state, count in await self._read(self._long, lambda c: rows(c, sql)):
            found.setdefault(endpoint_id, {})[state] = count
        pending, dead = DeliveryState.PENDING.value, DeliveryState.DEAD.value
        return {
            endpoint_id: Backlog(pending=counts.get(pending, 0), dead=counts.get(dead, 0))
            for endpoint_id, counts in found.items()
        }

    async def replay(self, numbers: Sequence[int], now_us: int) -> int:
        """See `Outbox.replay`."""
        wanted = list(numbers)
        return await self._write(lambda connection: _replay(connection, wanted, now_us))

    async def sweep(self) -> None:
        """See `Outbox.sweep`."""
        self._left_over = True
        while found := await self._read(self._long, to_sweep):
            if not await self._write(partial(sweep, swept=found)):
                break
        self._left_over = False

    async def expire(self, before_us: int, now_us: int, why: str) -> int:
        """See `Outbox.expire`."""
        given_up = 0
        for (webhook,) in await self._read(self._long, lambda c: rows(c, "SELECT number FROM webhooks")):
            after = 0
            look = partial(old, webhook=webhook, before_us=before_us)
            while found := await self._read(self._long, partial(look, after=after)):
                after = found[-1]
                end = partial(give_up, found=found, before_us=before_us, now_us=now_us, why=why)
                given_up += await self._write(end)
        return given_up

    async def purge(self, before_us: int, limit: int) -> int:
        """See `Outbox.purge`."""
        return await self._write(lambda connection: purge(connection, before_us, limit))


def _endpoint(row: tuple[Any, ...]) -> Endpoint:
    endpoint_id, url, host, created_by, project, event_types, disabled, created_us, secrets = row
    return Endpoint(
        id=endpoint_id,
        url=url,
        host=host,
        created_by=created_by,
        project=project,
        event_types=tuple(json.loads(event_types)),
        disabled=disabled,
        created_us=created_us,
        secrets=tuple(
            Secret(value=bytes.fromhex(value), made_us=made_us, until_us=until_us)
            for value, made_us, until_us in json.loads(secrets)
        ),
    )


def _delivery(row: tuple[Any, ...]) -> Delivery:
    number, endpoint_id, host, position, epoch, job_id, version, sequence, kind, state, attempts, made_us, *rest = row
    next_us, tried_us, status, error = rest
    return Delivery(
        number=number,
        endpoint_id=endpoint_id,
        host=host,
        position=position,
        epoch=epoch,
        job_id=job_id,
        version=version,
        sequence=sequence,
        type=kind,
        state=DeliveryState(state),
        attempts=attempts,
        made_us=made_us,
        next_us=next_us,
        tried_us=tried_us,
        status=status,
        error=error,
    )


def _put(connection: apsw.Connection, endpoints: list[Endpoint], position: int, at_us: int) -> None:
    connection.execute("UPDATE outbox SET position = max(position, ?) WHERE name = ?", (position, _NAME))
    for endpoint in endpoints:
        secrets = [[secret.value.hex(), secret.made_us, secret.until_us] for secret in endpoint.secrets]
        connection.execute(
            "INSERT INTO webhooks (number, id, url, host, created_by, project, event_types, disabled, created_us, "  # noqa: S608
            f"secrets) VALUES ({NEXT_NUMBER}, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET event_types = excluded.event_types, disabled = excluded.disabled, "
            "secrets = excluded.secrets",
            (
                endpoint.id,
                endpoint.url,
                endpoint.host,
                endpoint.created_by,
                endpoint.project,
                json.dumps(endpoint.event_types),
                endpoint.disabled,
                endpoint.created_us,
                json.dumps(secrets),
            ),
        )
    ids = json.dumps([endpoint.id for endpoint in endpoints if endpoint.disabled])
    disabled = rows(connection, "SELECT number FROM webhooks WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    sweep(connection, [number for (number,) in disabled])


def _enqueue(connection: apsw.Connection, batch: Batch) -> None:
    connection.execute("UPDATE outbox SET position = max(position, ?) WHERE name = ?", (batch.position, _NAME))
    connection.executemany(
        "INSERT INTO webhook_jobs (job_id, webhook, sequence) SELECT ?1, number, ?3 FROM webhooks WHERE id = ?2 "
        "ON CONFLICT (job_id) DO UPDATE SET webhook = excluded.webhook, sequence = excluded.sequence",
        [(job_id, one.endpoint_id, one.sequence) for job_id, one in batch.subscriptions.items()],
    )
    for new in batch.deliveries:
        state = DeliveryState.DEAD if new.dead else DeliveryState.PENDING
        connection.execute(
            _INSERT,
            (
                new.endpoint_id,
                new.position,
                new.epoch,
                new.job_id,
                new.version,
                new.sequence,
                new.type,
                state.value,
                batch.at_us,
                new.dead,
            ),
        )
    for endpoint_id, job_id in {(new.endpoint_id, new.job_id) for new in batch.deliveries}:
        number = one(connection, "SELECT number FROM webhooks WHERE id = ?", (endpoint_id,))
        if number is not None:
            order(connection, number, job_id, batch.at_us)
    connection.execute(
        "DELETE FROM webhook_jobs WHERE job_id IN (SELECT value FROM json_each(?))", (json.dumps(batch.ended),)
    )


def _settle(connection: apsw.Connection, tried: list[Tried]) -> None:
    for done in tried:
        # What was given up while it was on its way may have arrived all the same; what failed then stays given up.
        still = "state <> 2" if done.state is DeliveryState.DELIVERED else "state = 1"
        found = rows(
            connection,
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, next_us = ?, tried_us = ?, "  # noqa: S608
            "status = ?, error = ? WHERE webhook = (SELECT number FROM webhooks WHERE id = ?) AND position = ? "
            f"AND {still} RETURNING webhook, job_id",
            (
                done.state.value,
                done.next_us,
                done.tried_us,
                done.status,
                done.error,
                done.endpoint_id,
                done.position,
            ),
        )
        for webhook, job_id in found:
            order(connection, webhook, job_id, done.tried_us)


def _browse(
    wanted: DeliveryFilter, after: int | None, limit: int, *, descending: bool
) -> tuple[str, tuple[Value, ...]]:
    where, values = ["1"], list[Value]()
    if wanted.endpoint_ids is not None:
        where.append("d.webhook IN (SELECT number FROM webhooks WHERE id IN (SELECT value FROM json_each(?)))")
        values.append(json.dumps(sorted(wanted.endpoint_ids)))
    if wanted.keys is not None:
        where.append(
            "(d.webhook, d.position) IN (SELECT k.number, j.value ->> 1 FROM json_each(?) j "
            "JOIN webhooks k ON k.id = j.value ->> 0)"
        )
        values.append(json.dumps(sorted(wanted.keys)))
    if wanted.job_id:
        where.append("d.job_id = ?")
        values.append(wanted.job_id)
    if wanted.state is not None:
        where.append("d.state = ?")
        values.append(wanted.state.value)
    if wanted.from_position:
        where.append("d.position >= ?")
        values.append(wanted.from_position)
    if after is not None:
        where.append(f"d.number {'<' if descending else '>'} ?")
        values.append(after)
    sql = (
        f"SELECT {_DELIVERY} FROM deliveries d JOIN webhooks w ON w.number = d.webhook "  # noqa: S608
        f"WHERE {' AND '.join(where)} ORDER BY d.number {'DESC' if descending else 'ASC'} LIMIT ?"
    )
    return sql, (*values, limit)


def _replay(connection: apsw.Connection, numbers: list[int], now_us: int) -> int:
    found = rows(
        connection,
        "UPDATE deliveries SET state = 1, attempts = 0, next_us = NULL, made_us = ?, error = '' "
        "WHERE number IN (SELECT value FROM json_each(?)) AND state <> 1 RETURNING webhook, job_id",
        (now_us, json.dumps(numbers)),
    )
    for webhook, job_id in set(found):
        order(connection, webhook, job_id, now_us)
    return len(found)
