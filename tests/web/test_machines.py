"""What is kept of machines that ask over HTTP, and for how long."""

from __future__ import annotations

import httpx
import pytest

from tenure.web import machines as module
from tests.web.doors import WebWorld
from tests.web.machines import HttpMachine

GROUP = "renders"
LONGEST_LEASE_S = 7200


@pytest.fixture(autouse=True)
def _room_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MACHINES", 1)


async def holding(world: WebWorld, **more: object) -> tuple[HttpMachine, str]:
    """A machine that has taken a job, and the job's id."""
    user = await world.user_client()
    job = {"command": "true", "container_group_id": GROUP, "sync": {}, **more}
    assert (await user.post("/jobs", json=job)).status_code == 202
    machine = HttpMachine(await world.machine_client(), "first", GROUP)
    taken = await machine.work()
    assert taken is not None
    return machine, taken["id"]


async def asks(world: WebWorld, subject: str = "others") -> httpx.Response:
    """Another machine asks for work."""
    client = await world.machine_client(subject=subject)
    return await client.get("/work", params={"machine_id": "second", "container_group_id": GROUP})


async def revoke_all(world: WebWorld, subject: str) -> None:
    admin = await world.admin_client()
    tokens = (await admin.get("/v1/tokens")).json()["tokens"]
    for token in tokens:
        if token["subject"] == subject:
            assert (await admin.delete(f"/v1/tokens/{token['id']}")).status_code == 200


@pytest.mark.parametrize("revoked", [True, False])
async def test_one_that_went_with_a_job_makes_room_when_no_lease_can_be_live(world: WebWorld, revoked: bool) -> None:
    """With its token revoked its stream is over, so that nothing can tell it that it lost the job."""
    first, _ = await holding(world)
    if revoked:
        await revoke_all(world, "machines")
        await world.settle()
        assert (await first._client.get("/work", params=first._who)).status_code == 401
    refused = await asks(world)
    assert (refused.status_code, refused.json()["reason"]) == (429, "LIMIT_EXCEEDED")
    await world.let_pass_without_beats(2 * LONGEST_LEASE_S + 120)
    assert (await asks(world)).status_code == 200


async def test_one_whose_place_another_token_of_its_subject_took_makes_room(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream that was superseded is told nothing any more."""
    monkeypatch.setattr(module, "MAX_MACHINES", 2)
    await holding(world)
    newer = HttpMachine(await world.machine_client(), "first", GROUP)
    assert (await newer.work()) is not None  # the job again: who names no lease has lost what it had
    assert (await asks(world)).status_code == 429
    await world.let_pass_without_beats(2 * LONGEST_LEASE_S + 120)
    for subject in ("others", "more"):
        assert (await asks(world, subject)).status_code == 200


async def test_one_whose_lease_is_live_is_kept_however_long_that_is(world: WebWorld) -> None:
    first, job_id = await holding(world, heartbeat_interval=3600)
    for _ in range(2):
        await world.let_pass_without_beats(LONGEST_LEASE_S - 60)
        assert await first.heartbeat(job_id) == "running"
    assert (await asks(world)).status_code == 429
