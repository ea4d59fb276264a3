"""What every engine promises of the outputs it keeps. A subclass gives the fixture `store`, a fresh and empty one."""

from __future__ import annotations

import pytest

from tenure.store.outputs import KEPT_BYTES, KeptOutput
from tenure.store.store import Store
from tests.store.listing import problems
from tests.store.making import add_jobs


def output(data: bytes, *, job: str = "a", attempt: int = 1, offset: int = 0) -> KeptOutput:
    return KeptOutput(job_id=job, attempt=attempt, offset=offset, data=data)


class OutputsContract:
    """The last of what attempts printed."""

    async def test_an_output_is_found_by_its_attempt(self, store: Store) -> None:
        kept = [output(b"one\n"), output(b"two\xff\x00", attempt=2, offset=2**62), output(b"other", job="b")]
        await store.outputs.keep(kept)
        for one in kept:
            assert await store.outputs.find(one.job_id, one.attempt) == one
        assert await store.outputs.find("a", 3) is None
        assert await store.outputs.find("c", 1) is None

    async def test_a_repeat_changes_nothing_and_what_ends_later_takes_the_place(self, store: Store) -> None:
        first, longer = output(b"abc"), output(b"cde", offset=2)
        await store.outputs.keep([first])
        await store.outputs.keep([first])
        assert await store.outputs.find("a", 1) == first
        await store.outputs.keep([longer, first])
        assert await store.outputs.find("a", 1) == longer

    async def test_it_is_beside_the_log(self, store: Store) -> None:
        await add_jobs(store, "a")
        position = store.head().position
        await store.outputs.keep([output(b"x" * KEPT_BYTES)])
        assert store.head().position == position
        async for _ in store.rebuild():
            pass
        assert await problems(store) == []
        found = await store.outputs.find("a", 1)
        assert found is not None
        assert found.end == KEPT_BYTES

    async def test_no_more_than_the_last_of_it_is_kept(self) -> None:
        with pytest.raises(ValueError, match="65536"):
            output(b"x" * (KEPT_BYTES + 1))
