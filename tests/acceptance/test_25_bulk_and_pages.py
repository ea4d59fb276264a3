"""Scenario 25: a thousand jobs at once, and lists in pages while more arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tenure.v1 import job_service_pb2
from tests.acceptance.callers import Caller, millis, refusal
from tests.acceptance.specifications import seed1, simple
from tests.acceptance.world import World


async def test_scenario_25_a_thousand_in_order(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    ids = [f"job-{n:04}" for n in range(1000)]
    world.ids.then(*ids)
    response = await user.create_many([simple(name=f"n{n}", hours=1) for n in range(1000)])
    assert [item.id for item in response.responses] == ids
    created = await admin.events(types=["JobCreated"])
    assert [event.stream for event in created] == [f"job/{job_id}" for job_id in ids]
    assert [event.position for event in created] == list(range(created[0].position, created[0].position + 1000))
    assert (await user.job(ids[7])).specification.name == "n7"


async def test_scenario_25_a_thousand_and_one(world: World) -> None:
    user, admin = await world.user("user"), await world.admin()
    before = await admin.position()
    refused = await refusal(user.create_many([simple(hours=1)] * 1001))
    assert refused.code == "INVALID_ARGUMENT"
    assert refused.fields == ("items",)
    refused = await refusal(user.create_many([]))
    assert refused.code == "INVALID_ARGUMENT"
    assert await admin.position() == before


@pytest.mark.parametrize("wrong", ["field", "several fields", "unsupported", "unknown application", "duplicate"])
async def test_scenario_25_item_seven_is_invalid(world: World, wrong: str) -> None:
    user, admin = await world.user("user"), await world.admin()
    items = [simple(name=f"n{n}", hours=1) for n in range(10)]
    match wrong:
        case "field":
            items[7].max_failures = 0
            expected = ("INVALID_ARGUMENT", "INVALID_FIELD", "items[7].specification.max_failures")
        case "several fields":
            items[7].sync.before.add(bucket="bucket", prefix="../x", local_path="in")
            expected = ("INVALID_ARGUMENT", "INVALID_FIELD", "items[7].specification.sync.before[0].prefix")
        case "unsupported":
            items[7].replicas = 2
            expected = ("INVALID_ARGUMENT", "UNSUPPORTED_FIELD", "items[7].specification.replicas")
        case "unknown application":
            items[7] = seed1()
            items[7].application.version = "9.9.9"
            expected = ("INVALID_ARGUMENT", "APPLICATION_UNKNOWN", "items[7].specification.application")
        case _:
            await user.create(seed1())
            items[7] = seed1()
            expected = ("ALREADY_EXISTS", "DUPLICATE_JOB", "items[7].specification")
    before = await admin.position()
    refused = await refusal(user.create_many(items))
    assert (refused.code, refused.reason) == expected[:2]
    assert refused.fields == (expected[2],)
    assert await admin.position() == before


async def _pages(user: Caller, request: job_service_pb2.BrowseJobsRequest) -> AsyncIterator[list[str]]:
    while True:
        page = await user.browse(request)
        yield [job.id for job in page.jobs]
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@pytest.mark.parametrize("ascending", [False, True], ids=["newest first", "oldest first"])
async def test_scenario_25_pages_while_more_arrive(world: World, ascending: bool) -> None:
    user = await world.user("user")
    old = [item.id for item in (await user.create_many([simple(hours=1)] * 250)).responses]
    request = job_service_pb2.BrowseJobsRequest(
        page_size=100,
        sort_by=job_service_pb2.JOB_SORT_BY_CREATED_AT,
        sort_direction=job_service_pb2.SORT_DIRECTION_ASCENDING
        if ascending
        else job_service_pb2.SORT_DIRECTION_UNSPECIFIED,
    )
    seen: list[str] = []
    new: list[str] = []
    async for page in _pages(user, request):
        assert len(page) <= 100
        seen += page
        if len(new) < 50:
            new += [item.id for item in (await user.create_many([simple(hours=1)] * 25)).responses]
            await world.let_pass(1)
    assert len(new) == 50
    assert len(set(seen)) == len(seen), "a repeat"
    assert [job_id for job_id in seen if job_id in set(old)] == (old if ascending else old[::-1]), "a gap"
    # Those that arrived are behind the pages already read, or ahead of them.
    assert set(seen) == ({*old, *new} if ascending else set(old))


async def test_scenario_25_by_the_end_of_their_time(world: World) -> None:
    user = await world.user("user")
    specifications = [seed1() for _ in range(30)]
    for n, specification in enumerate(specifications):
        specification.allow_duplicate_job = True
        specification.time_allocation.seconds = 3600 + (n * 7 % 10) * 60
    await user.create_many(specifications)
    await user.create_many([simple() for _ in range(5)])  # these never expire
    request = job_service_pb2.BrowseJobsRequest(page_size=7, sort_by=job_service_pb2.JOB_SORT_BY_EXPIRES_AT)
    seen = [job_id async for page in _pages(user, request) for job_id in page]
    assert len(seen) == len(set(seen)) == 35
    ends = [
        millis(job.status.expires_at) if job.status.HasField("expires_at") else None
        for job in [await user.job(job_id) for job_id in seen]
    ]
    known = [end for end in ends if end is not None]
    assert known == sorted(known)
    assert ends[30:] == [None] * 5


async def test_scenario_25_a_token_of_another_query(world: World) -> None:
    user = await world.user("user")
    await user.create_many([simple(hours=1)] * 5)
    request = job_service_pb2.BrowseJobsRequest(page_size=2)
    token = (await user.browse(request)).next_page_token
    assert token
    for bad in (
        job_service_pb2.BrowseJobsRequest(page_size=2, page_token="nonsense"),
        job_service_pb2.BrowseJobsRequest(page_size=2, page_token=token[:-2]),
        job_service_pb2.BrowseJobsRequest(
            page_size=2, page_token=token, flags=job_service_pb2.JobFlags(filter_queue="other")
        ),
    ):
        refused = await refusal(user.browse(bad))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    assert len((await user.browse(job_service_pb2.BrowseJobsRequest(page_size=3, page_token=token))).jobs) == 3
