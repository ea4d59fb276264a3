"""The second seed's job over Kelpie's API: what `POST /jobs` answers, and its life on one machine."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.seed2_story import ASSIGNED_MS, BEATS_MS, LAST_MOMENT_MS, LOST_MS, OWNER, QUEUE, WORKER
from tests.acceptance.specifications import seed2_document
from tests.web.doors import WebWorld
from tests.web.machines import HttpMachine

JOB = "f8952c89-2f81-4c57-926f-e7f5861e6a8e"
SET_BY_THE_SERVER = {"id", "user_id", "status", "created", "num_failures", "machine_id", "num_heartbeats"}


def submission() -> dict[str, Any]:
    """What a client sends for the seed's job: prefixes come without their last slash."""
    document: dict[str, Any] = seed2_document()
    for rules in document["sync"].values():
        for rule in rules:
            rule["prefix"] = rule["prefix"].rstrip("/")
    return {name: value for name, value in document.items() if name not in SET_BY_THE_SERVER}


def sorted_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


async def submitted(world: WebWorld) -> None:
    user = await world.user_client(OWNER)
    # The container group's queue is made by the first job that names it, and has an id of its own.
    first = (await user.post("/jobs", json=submission())).json()
    assert (await user.delete(f"/jobs/{first['id']}")).status_code == 202
    world.ids.then(JOB)


async def test_the_answer_is_the_printed_job(world2024: WebWorld) -> None:
    world = world2024
    await submitted(world)
    user = await world.user_client(OWNER)
    response = await user.post("/jobs", json=submission())
    assert response.status_code == 202
    assert sorted_json(response.json()) == sorted_json(seed2_document())
    again = await user.get(f"/jobs/{JOB}")
    assert again.status_code == 200
    assert sorted_json(again.json()) == sorted_json(seed2_document())


async def test_the_printed_job_can_be_sent_as_it_is(world2024: WebWorld) -> None:
    user = await world2024.user_client(OWNER)
    response = await user.post("/jobs", json=seed2_document())
    assert response.status_code == 202
    assert response.json()["id"] != JOB


async def test_a_machine_runs_it_and_is_lost(world2024: WebWorld) -> None:
    world = world2024
    await submitted(world)
    user = await world.user_client(OWNER)
    assert (await user.post("/jobs", json=submission())).json()["id"] == JOB
    await world.until(ASSIGNED_MS)
    machine = HttpMachine(await world.machine_client(), WORKER, QUEUE)
    job = await machine.work()
    assert job is not None
    for at_ms in BEATS_MS:
        await world.until(at_ms)
        assert await machine.heartbeat(JOB) == "running"
    seen = (await user.get(f"/jobs/{JOB}")).json()
    assert seen["status"] == "running"
    assert seen["machine_id"] == WORKER == "9d8e79e1-54b4-db50-944c-c2ca6c126d20"
    assert seen["started"] == "2024-10-20T14:08:37.000Z"
    assert seen["heartbeat"] == "2024-10-20T14:09:38.000Z"
    assert (seen["num_heartbeats"], seen["num_failures"]) == (3, 0)
    assert seen["sync"] == job["sync"] == seed2_document()["sync"]
    # What its worker runs is the printed block, untouched.
    assert (job["command"], job["arguments"]) == ("python", ["/app/main.py"])
    assert job["environment"] == seed2_document()["environment"]

    other = HttpMachine(await world.machine_client(), "another-machine", QUEUE)
    await world.clock.advance_to(LAST_MOMENT_MS * 1000)
    assert await other.work() is None
    await world.clock.advance_to(LOST_MS * 1000)
    taken = await other.work()
    assert taken is not None
    assert taken["id"] == JOB
    seen = (await user.get(f"/jobs/{JOB}")).json()
    assert (seen["machine_id"], seen["num_failures"], seen["started"]) == (
        "another-machine",
        0,
        "2024-10-20T14:10:38.000Z",
    )
    # The machine that was lost comes back, and is told to stop; what it says changes nothing.
    assert await machine.heartbeat(JOB) == "canceled"
    assert (await machine.completed(JOB)).status_code == 409
    assert (await machine.failed(JOB)).status_code == 409
    assert await other.heartbeat(JOB) == "running"
    assert (await user.get(f"/jobs/{JOB}")).json()["status"] == "running"
