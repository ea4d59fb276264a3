"""Scenario 11: a stranger cannot tell somebody's job from no job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.acceptance.callers import Caller, refusal, state_of
from tests.acceptance.specifications import seed1, simple
from tests.acceptance.world import World

CALLS: dict[str, Callable[[Caller, str], Awaitable[object]]] = {
    "retrieve": lambda caller, job_id: caller.retrieve(job_id),
    "extend": lambda caller, job_id: caller.extend(job_id, 3600),
    "terminate": lambda caller, job_id: caller.terminate(job_id),
    "terminate with grace": lambda caller, job_id: caller.terminate(job_id, grace_s=5),
    "extend with request id": lambda caller, job_id: caller.extend(job_id, 3600, request_id="r1"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_scenario_11_byte_equal(world: World, call: str) -> None:
    user, stranger, admin = await world.user("user"), await world.user("stranger"), await world.admin()
    world.ids.then("62348")
    job_id = await user.create(seed1())
    before = await admin.position()
    his = await refusal(CALLS[call](stranger, job_id))
    nobodys = await refusal(CALLS[call](stranger, "no-such-job-has-a-longer-id"))
    assert (his.code, his.reason) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert his.raw == nobodys.raw
    assert job_id not in repr(his.raw)
    assert await admin.position() == before
    assert state_of(await user.job(job_id)) == "IN_QUEUE"


async def test_scenario_11_final_and_project_jobs_too(world: World) -> None:
    member = await world.user("member", project="p1")
    stranger = await world.user("stranger", project="p2")
    job_id = await member.create(seed1())
    assert (await member.job(job_id)).owner.project == "p1"
    colleague = await world.user("colleague", project="p1")
    assert (await colleague.job(job_id)).id == job_id
    await member.terminate(job_id)
    for call in CALLS.values():
        assert (await refusal(call(stranger, job_id))).raw == (await refusal(call(stranger, "unknown"))).raw


async def test_scenario_11_one_of_several(world: World) -> None:
    user, stranger = await world.user("user"), await world.user("stranger")
    others = await user.create(seed1())
    own = await stranger.create(simple(hours=1))
    refused = await refusal(stranger.terminate(own, others))
    assert refused.code == "NOT_FOUND"
    assert refused.raw == (await refusal(stranger.terminate(own, "unknown"))).raw
    assert state_of(await stranger.job(own)) == "IN_QUEUE"


async def test_scenario_11_a_workers_credential(world: World) -> None:
    user, machine = await world.user("user"), await world.worker_credentials()
    job_id = await user.create(seed1())
    for call in (
        machine.create(simple()),
        machine.retrieve(job_id),
        machine.extend(job_id, 3600),
        machine.terminate(job_id),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
    assert state_of(await user.job(job_id)) == "IN_QUEUE"
