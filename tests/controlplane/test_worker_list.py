"""The list of workers: its order, its pages while workers come and go, and how long those that have gone are in it."""

from __future__ import annotations

import pytest

from tenure.domain.errors import Reason, Refused
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.fleet import FakeCall, FakeWorker, Plane, fleet, worker_identity

DAY_S = 24 * 3600
ADMIN = FakeCall(worker_identity())


async def browse(plane: Plane, token: str = "", size: int = 1000) -> pb.BrowseWorkersResponse:
    return await plane.service.browse_workers(pb.BrowseWorkersRequest(page_size=size, page_token=token), ADMIN)


async def rest(plane: Plane, token: str, size: int) -> list[str]:
    """The names on all pages from there on."""
    names: list[str] = []
    while token:
        page = await browse(plane, token, size)
        names += [one.id for one in page.workers]
        token = page.next_page_token
    return names


async def test_one_that_is_connected_is_not_hidden_by_a_thousand_that_have_gone() -> None:
    async with Plane() as plane:
        for index in range(1001):
            spot = FakeWorker(plane, f"worker-{index:04}")
            await spot.connect(settle=False)
            spot.stream.put(None)
        await plane.settle()
        await FakeWorker(plane, "worker-9999").connect()
        page = await browse(plane)
        assert [(one.id, one.connected) for one in page.workers[:2]] == [("worker-9999", True), ("worker-0000", False)]
        assert len(await rest(plane, page.next_page_token, 1000)) == 1002 - 1000


async def test_one_that_went_a_day_ago_is_not_listed() -> None:
    async with Plane() as plane, fleet(plane, 2) as workers:
        await workers[0].vanish()
        await plane.clock.advance(DAY_S - 1)
        assert [one.id for one in (await browse(plane)).workers] == ["worker-001", "worker-000"]
        await plane.clock.advance(1)
        assert [one.id for one in (await browse(plane)).workers] == ["worker-001"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_none_is_missed_that_comes_or_goes_while_pages_are_read(size: int) -> None:
    async with Plane() as plane, fleet(plane, 9) as workers:
        for index in (0, 2, 4, 6):
            await workers[index].vanish()
        page = await browse(plane, size=size)
        names = [one.id for one in page.workers]
        for index in (0, 6):
            await workers[index].connect()  # it had gone when the first page was read
        for index in (1, 8):
            await workers[index].vanish()
        page = await browse(plane, page.next_page_token, size)
        names += [one.id for one in page.workers]
        for index in (2, 4):
            await workers[index].connect()
        names += await rest(plane, page.next_page_token, size)
        order = (1, 3, 5, 7, 8, 0, 2, 4, 6)
        assert names == [f"worker-{index:03}" for index in order]


async def test_one_that_connects_anew_while_pages_are_read_is_not_missed_either() -> None:
    async with Plane() as plane, fleet(plane, 4) as workers:
        page = await browse(plane, size=1)
        for worker in workers:
            await worker.vanish()
            await worker.connect()
        names = await rest(plane, page.next_page_token, 1)
        assert names == [f"worker-{index:03}" for index in range(4)]


async def test_a_page_token_of_the_earlier_order_is_refused() -> None:
    async with Plane() as plane, fleet(plane, 2):
        question = pb.BrowseWorkersRequest()
        token = plane.service._pages.make(("worker-000\x00fleet",), question, ADMIN.identity.principal)
        with pytest.raises(Refused) as refused:
            await browse(plane, token)
        assert refused.value.reason is Reason.PAGE_TOKEN_INVALID
