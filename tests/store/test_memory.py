from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tenure.store.memory import MemoryStore
from tenure.store.store import CommitOutcomeUnknown, StorageFull, Store
from tests.store.contract import LogContract
from tests.store.contract_ahead import AheadContract
from tests.store.contract_jobs import JobsContract
from tests.store.contract_lists import ListsContract
from tests.store.contract_others import OthersContract
from tests.store.making import add_jobs


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = MemoryStore()
    yield made
    await made.close()


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


class _Failing:
    """A disk that fails once in the way it is told to."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def flush(self, events: int) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure


async def test_nothing_of_a_unit_is_there_when_the_disk_is_full() -> None:
    disk = _Failing()
    store = MemoryStore(disk=disk)
    disk.failure = StorageFull("full")
    with pytest.raises(StorageFull):
        await add_jobs(store, "a")
    assert (store.head().position, store.read_only_reason) == (0, "full")
    await add_jobs(store, "a")
    assert store.read_only_reason == ""


async def test_no_commit_is_taken_after_one_whose_outcome_is_unknown() -> None:
    disk = _Failing()
    store = MemoryStore(disk=disk)
    disk.failure = CommitOutcomeUnknown("lost")
    for job_id in ("a", "b"):
        with pytest.raises(CommitOutcomeUnknown):
            await add_jobs(store, job_id)
    assert store.head().position == 0
