from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenure.store.store import Store
from tests.store.contract import LogContract
from tests.store.contract_ahead import AheadContract
from tests.store.contract_jobs import JobsContract
from tests.store.contract_lists import ListsContract
from tests.store.contract_others import OthersContract
from tests.store.opening import opened


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as made:
        yield made


class TestLog(LogContract):
    pass


class TestJobs(JobsContract):
    pass


class TestLists(ListsContract):
    pass


class TestOthers(OthersContract):
    pass


class TestAhead(AheadContract):
    pass
