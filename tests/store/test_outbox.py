from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from typing import TypeVar

import apsw
import pytest

from tenure.store.memory import MemoryStore
from tenure.store.offline import verify_directory
from tenure.store.outbox import ROWS_AT_ONCE, DeliveryFilter, DeliveryState
from tenure.store.sqlite import SqliteStore
from tenure.store.sqlite_schema import SCHEMA_VERSION, UPGRADES, rows
from tenure.store.store import Store
from tests.store.contract_outbox import OutboxContract, batch, due, endpoint, prepared
from tests.store.contract_outbox_ending import OutboxEndingContract, much
from tests.store.making import T0, add_jobs, load
from tests.store.opening import opened

T = TypeVar("T")

MUCH = 5000


class TestMemory(OutboxContract, OutboxEndingContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        made = MemoryStore()
        yield made
        await made.close()


class TestSqlite(OutboxContract, OutboxEndingContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with opened(tmp_path) as made:
            yield made


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await prepared(store)
        await store.outbox.enqueue(batch(3, 4))
    async with opened(tmp_path) as store:
        assert await store.outbox.endpoints() == [endpoint()]
        assert await store.outbox.position() == 4
        assert await due(store) == [("j", 3, T0)]


async def test_no_transaction_of_the_outbox_changes_many_rows(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await prepared(store, "e1", "e2", "e3")
        for of in ("e1", "e2", "e3"):
            await store.outbox.enqueue(much(MUCH, of))
        await store.outbox.enqueue(much(MUCH, "e3", behind=MUCH, at_us=T0 + 1))
        changed = counting(store)
        await store.outbox.remove_endpoints(["e1"])
        await store.outbox.put_endpoints([endpoint("e2", disabled="off")], 0, T0)
        await store.outbox.sweep()
        # And in each job another one is due.
        assert await store.outbox.expire(T0 + 1, T0 + 2, "too old") == MUCH
        assert sum(changed) >= 5 * MUCH
        assert max(changed) <= 2 * ROWS_AT_ONCE
        await store.outbox.remove_endpoints(["e2", "e3"])
        await store.outbox.sweep()
        assert max(changed) <= 2 * ROWS_AT_ONCE
        assert await left(store) == (0, 0)


async def test_what_a_crash_leaves_of_a_removed_endpoint_is_swept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await prepared(store)
        await store.outbox.enqueue(much(MUCH))
        await store.outbox.remove_endpoints(["e1"])
        assert await left(store) == (MUCH - ROWS_AT_ONCE, MUCH)
    async with opened(tmp_path) as store:
        assert await store.outbox.endpoints() == []
        assert await store.outbox.subscriptions() == {}
        assert await due(store) == []
        await prepared(store)
        assert await due(store) == []
        await store.outbox.sweep()
        assert await left(store) == (0, 0)


async def test_an_endpoint_enabled_before_all_of_it_is_dead_goes_on_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await prepared(store)
        last = ROWS_AT_ONCE + 10
        await store.outbox.enqueue(batch(*range(1, last + 1)))
        await store.outbox.put_endpoints([endpoint(disabled="off")], 0, T0)
        await store.outbox.put_endpoints([endpoint()], 0, T0)
        await store.outbox.sweep()
        assert await due(store) == [("j", 1, T0)]
        found = await store.outbox.browse(DeliveryFilter(state=DeliveryState.PENDING), None, last, descending=False)
        assert [one.position for one in found] == list(range(1, 11))


def counting(store: SqliteStore) -> list[int]:
    """How many rows each transaction changes from now on."""
    changed: list[int] = []
    write = store.outbox._write

    async def counted(run: Callable[[apsw.Connection], T]) -> T:
        def counts(connection: apsw.Connection) -> T:
            before = connection.total_changes()
            result = run(connection)
            changed.append(connection.total_changes() - before)
            return result

        return await write(counts)

    store.outbox._write = counted
    return changed


async def left(store: SqliteStore) -> tuple[int, int]:
    """Rows of deliveries and of jobs, also such as nobody sees."""
    sql = "SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM webhook_jobs)"
    ((deliveries, jobs),) = await store.outbox._read(1, lambda connection: rows(connection, sql))
    return deliveries, jobs


async def test_a_store_from_before_the_outbox_is_opened(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a", "b")
    as_it_was_before(tmp_path)
    *_, (_, report) = verify_directory(tmp_path)
    assert report.ok
    async with opened(tmp_path) as store:
        assert (await load(store, "b")).created_position == 2
        assert await store.outbox.position() == 2
        await prepared(store)
        await store.outbox.enqueue(batch(3))
        assert await due(store) == [("j", 3, T0)]
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    assert connection.pragma("user_version") == SCHEMA_VERSION
    connection.close()


def as_it_was_before(directory: Path) -> None:
    """Take from a database what its first version did not have."""
    connection = apsw.Connection(str(directory / "tenure.db"))
    folder = resources.files("tenure.store") / "schema"
    scripts = [(folder / name).read_text(encoding="utf-8") for names in UPGRADES.values() for name in names]
    lines = [line for script in scripts for line in script.splitlines()]
    tables = [line.split()[2] for line in lines if line.startswith("CREATE TABLE")]
    assert len(tables) >= 4
    for table in tables:
        connection.execute(f"DROP TABLE {table}")
    connection.pragma("user_version", 1)
    connection.close()
