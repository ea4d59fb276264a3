from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from tenure.store.memory import MemoryStore
from tenure.store.sqlite_schema import SCHEMA_VERSION
from tenure.store.store import Store
from tests.store.contract_outputs import OutputsContract, output
from tests.store.making import add_jobs, load
from tests.store.opening import opened


class TestMemory(OutputsContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        made = MemoryStore()
        yield made
        await made.close()


class TestSqlite(OutputsContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with opened(tmp_path) as made:
            yield made


async def test_outputs_are_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.outputs.keep([output(b"abc")])
    async with opened(tmp_path) as store:
        assert await store.outputs.find("a", 1) == output(b"abc")


async def test_a_store_from_before_outputs_is_opened(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_jobs(store, "a")
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    connection.execute("DROP TABLE outputs")
    connection.pragma("user_version", 2)
    connection.close()
    async with opened(tmp_path) as store:
        assert (await load(store, "a")).created_position == 1
        await store.outputs.keep([output(b"abc")])
        assert await store.outputs.find("a", 1) == output(b"abc")
    connection = apsw.Connection(str(tmp_path / "tenure.db"))
    assert connection.pragma("user_version") == SCHEMA_VERSION
    connection.close()
