from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import apsw
import pytest

from tenure.store.memory import MemoryStore
from tenure.store.offline import verify_directory
from tenure.store.sqlite_schema import SCHEMA_VERSION, UPGRADES
from tenure.store.store import Store
from tests.store.contract_outbox import OutboxContract, batch, due, endpoint, prepared
from tests.store.making import T0, add_jobs, load
from tests.store.opening import opened


class TestMemory(OutboxContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        made = MemoryStore()
        yield made
        await made.close()


class TestSqlite(OutboxContract):
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
