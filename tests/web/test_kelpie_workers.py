"""Machines that speak Kelpie's API: claims, heartbeats, outcomes, cancellation, and what becomes of the lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.waiting import eventually
from tests.web.doors import WebWorld, open_web_world
from tests.web.machines import HttpMachine

GROUP = "8e78dce7-08b8-4854-b6ea-67a6bb6bcf03"


def job(**more: Any) -> dict[str, Any]:
    return {"command": "true", "container_group_id": GROUP, "sync": {}, **more}


async def submit(user: httpx.AsyncClient, **more: Any) -> str:
    response = await user.post("/jobs", json=job(**more))
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


async def status(user: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    response = await user.get(f"/jobs/{job_id}")
    assert response.status_code == 200, response.text
    seen: dict[str, Any] = response.json()
    return seen


async def machine(world: WebWorld, machine_id: str, **more: Any) -> HttpMachine:
    return HttpMachine(await world.machine_client(**more), machine_id, GROUP)


async def test_two_machines_compete(world: WebWorld) -> None:
    user = await world.user_client()
    response = await user.post("/jobs/batch", json=[job(arguments=[str(number)]) for number in range(12)])
    assert response.status_code == 202
    ids = [each["id"] for each in response.json()]
    assert [each["arguments"] for each in response.json()] == [[str(number)] for number in range(12)]
    failures: Counter[str] = Counter()

    async def run(work: dict[str, Any]) -> int:
        # The third job fails wherever it first runs.
        failures[work["id"]] += work["id"] == ids[2]
        return int(work["id"] == ids[2] and failures[work["id"]] == 1)

    one, two = await machine(world, "one"), await machine(world, "two")
    await asyncio.gather(one.until_no_work(run), two.until_no_work(run))
    ran = Counter([*one.ran, *two.ran])
    assert ran == {**dict.fromkeys(ids, 1), ids[2]: 2}
    # The second attempt was not where the first one failed.
    assert ids[2] in one.ran
    assert ids[2] in two.ran
    for job_id in ids:
        seen = await status(user, job_id)
        assert seen["status"] == "completed"
        assert seen["completed"] == seen["created"]
        assert seen["num_failures"] == (1 if job_id == ids[2] else 0)


async def test_one_job_goes_to_one_of_many_who_ask_at_once(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user)
    machines = [await machine(world, f"m{number}") for number in range(8)]
    claimed = [work for work in await asyncio.gather(*(each.work() for each in machines)) if work is not None]
    assert [work["id"] for work in claimed] == [job_id]
    assert claimed[0]["status"] == "running"


async def test_nothing_is_given_to_a_machine_that_does_not_ask(world: WebWorld) -> None:
    user = await world.user_client()
    idle, asking = await machine(world, "idle"), await machine(world, "asking")
    assert await idle.work() is None
    job_id = await submit(user)
    await world.settle()
    assert (await status(user, job_id))["status"] == "pending"
    taken = await asking.work()
    assert taken is not None
    assert taken["id"] == job_id
    # Nor to one that has just finished something.
    assert (await asking.completed(job_id)).status_code == 200
    second = await submit(user)
    await world.settle()
    assert (await status(user, second))["status"] == "pending"
    assert (await asking.work()) is not None


async def test_a_machine_may_run_several(world: WebWorld) -> None:
    user = await world.user_client()
    ids = {await submit(user, arguments=[str(number)]) for number in range(3)}
    one = await machine(world, "one")
    works = [await one.work() for _ in range(3)]
    assert {work["id"] for work in works if work is not None} == ids
    assert await one.work() is None
    for job_id in ids:
        assert await one.heartbeat(job_id) == "running"
        assert (await one.completed(job_id)).status_code == 200
    assert {(await status(user, job_id))["status"] for job_id in ids} == {"completed"}


async def test_a_failed_job_goes_elsewhere_at_once_and_ends_at_max_failures(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user, max_failures=2)
    one, two = await machine(world, "one"), await machine(world, "two")
    assert await one.work() is not None
    response = await one.failed(job_id)
    assert (response.status_code, response.json()) == (202, {"message": "Failure reported"})
    assert await one.work() is None  # it is banned from it
    assert await two.work() is not None  # without waiting for any lease to run out
    assert (await status(user, job_id))["num_failures"] == 1
    assert (await two.failed(job_id)).status_code == 202
    seen = await status(user, job_id)
    assert (seen["status"], seen["num_failures"]) == ("failed", 2)
    assert "failed" in seen


async def test_a_report_may_be_repeated_and_not_be_contradicted(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user)
    one = await machine(world, "one")
    await one.work()
    response = await one.completed(job_id)
    assert (response.status_code, response.json()) == (200, {"message": "Completed reported"})
    assert (await one.completed(job_id)).status_code == 200
    refused = await one.failed(job_id)
    assert refused.status_code == 409
    assert refused.json()["reason"] == "LEASE_LOST"
    assert (await status(user, job_id))["status"] == "completed"


async def test_a_cancelled_job_is_told_with_the_next_heartbeat(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user)
    one = await machine(world, "one")
    await one.work()
    assert await one.heartbeat(job_id) == "running"
    response = await user.delete(f"/jobs/{job_id}")
    assert (response.status_code, response.json()) == (202, {"message": "Job canceled"})
    assert await one.heartbeat(job_id) == "canceled"
    assert await one.heartbeat(job_id) == "canceled"
    seen = await status(user, job_id)
    assert seen["status"] == "canceled"
    assert seen["machine_id"] == "one"
    # It is free for the next one.
    await submit(user)
    assert await one.work() is not None


async def test_a_cancellation_with_grace_ends_when_the_machine_is_told(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user)
    one = await machine(world, "one")
    await one.work()
    grace = {"items": [{"id": job_id, "gracePeriod": "60s"}]}
    assert (await user.post("/v1/jobs:terminate", json=grace)).status_code == 200
    await eventually(lambda: told(one, job_id), "canceled")
    native = (await user.get(f"/v1/jobs/{job_id}")).json()["job"]["status"]
    assert (native["state"], native["outcome"]) == ("JOB_STATE_SUCCESS", "JOB_OUTCOME_CANCELLED")


async def told(one: HttpMachine, job_id: str) -> bool:
    return await one.heartbeat(job_id) == "canceled"


async def test_others_are_not_heard(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user)
    one, two = await machine(world, "one"), await machine(world, "two")
    await one.work()
    assert await two.heartbeat(job_id) == "canceled"
    assert (await two.completed(job_id)).status_code == 409
    assert (await two.failed(job_id)).status_code == 409
    assert await one.heartbeat(job_id) == "running"
    for what in ("heartbeat", "completed", "failed"):
        response = await one.say("no-such-job", what)
        assert (response.status_code, response.json()["error"]) == (404, "Not Found")


async def test_a_token_of_another_queue_gets_nothing(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user)
    stranger = HttpMachine(await world.machine_client(queues=("other",), subject="stranger"), "stranger", GROUP)
    for response in (
        await stranger._client.get("/work", params=stranger._who),
        await stranger.say(job_id, "heartbeat"),
        await stranger.say(job_id, "completed"),
    ):
        assert (response.status_code, response.json()["reason"]) == (403, "QUEUE_NOT_ALLOWED")
    inside = HttpMachine(stranger._client, "stranger", "other")
    assert (await inside.say(job_id, "heartbeat")).status_code == 404


async def test_users_do_not_work_and_workers_do_not_submit(world: WebWorld) -> None:
    user, worker = await world.user_client(), await world.machine_client()
    who = {"machine_id": "m", "container_group_id": GROUP}
    assert (await user.get("/work", params=who)).status_code == 403
    assert (await worker.post("/jobs", json=job())).status_code == 403
    assert (await world.client().get("/work", params=who)).status_code == 401
    assert (await worker.get("/work", params={"machine_id": "m"})).status_code == 400
    assert (await worker.get("/work", params={"machine_id": "not an id", "container_group_id": "g"})).status_code == 400


async def test_a_restart_of_the_server_loses_no_attempt(tmp_path: Path) -> None:
    async with open_web_world(f"sqlite://{tmp_path / 'data'}") as world:
        token = await world.server.token("worker", "machines")
        admin = await world.server.token("admin", "admin")
        user = world.client(admin)
        job_id = await submit(user, heartbeat_interval=10)
        one = HttpMachine(world.client(token), "one", GROUP)
        assert await one.work() is not None
        for _ in range(2):
            assert await one.heartbeat(job_id) == "running"
        await world.stop()
        await world.start()
        user, one = world.client(admin), HttpMachine(world.client(token), "one", GROUP)
        # It goes on with its beats, or asks for more work, as it likes.
        assert await one.work() is None
        assert await one.heartbeat(job_id) == "running"
        await world.let_pass_without_beats(15)
        assert await one.heartbeat(job_id) == "running"
        assert (await one.completed(job_id)).status_code == 200
        native = (await user.get(f"/v1/jobs/{job_id}")).json()["job"]
        assert native["status"]["outcome"] == "JOB_OUTCOME_COMPLETED"
        assert [attempt["machineId"] for attempt in native["attempts"]] == ["one"]
        assert native["status"]["numInterruptions"] == 0


async def test_a_drained_machine_gets_no_more(world: WebWorld) -> None:
    user, admin = await world.user_client(), await world.admin_client()
    job_id = await submit(user)
    one = await machine(world, "one")
    assert await one.work() is not None
    workers = (await admin.get("/v1/workers")).json()["workers"]
    assert [(each["id"], each["connected"], each["busySlots"]) for each in workers] == [("one", True, 1)]
    await submit(user)
    response = await admin.post("/v1/workers:drain", json={"workerIds": ["one"]})
    assert response.json() == {"workerIds": ["one"]}
    assert await one.work() is None
    assert await one.heartbeat(job_id) == "running"
    assert (await one.completed(job_id)).status_code == 200


async def test_a_machine_that_does_not_ask_any_more_is_forgotten(world: WebWorld) -> None:
    admin = await world.admin_client()
    one = await machine(world, "one")
    assert await one.work() is None

    async def connected() -> list[bool]:
        return [each["connected"] for each in (await admin.get("/v1/workers")).json()["workers"]]

    assert await connected() == [True]
    await world.let_pass_without_beats(120)

    async def gone() -> bool:
        return await connected() == [False]

    await eventually(gone, "the machine to be forgotten")
    assert await one.work() is None
    assert await connected() == [True]


async def test_a_machine_that_went_away_while_it_asked_keeps_no_job(world: WebWorld) -> None:
    user = await world.user_client()
    token = await world.server.token("worker", "machines")
    host, port = world.url.removeprefix("http://").rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    query = f"machine_id=gone&container_group_id={GROUP}"
    writer.write(f"GET /work?{query} HTTP/1.1\r\nhost: x\r\nx-kelpie-key: {token}\r\n\r\n".encode())
    await writer.drain()

    async def asking() -> bool:
        return bool(world.server.plane.workers.queue_workers(GROUP)[1])

    await eventually(asking, "the machine to ask")
    writer.close()
    await writer.wait_closed()
    job_id = await submit(user)
    other = await machine(world, "other")

    async def taken() -> bool:
        return await other.work() is not None

    await eventually(taken, "the job to be given to the other machine")
    native = (await user.get(f"/v1/jobs/{job_id}")).json()["job"]
    assert [attempt["machineId"] for attempt in native["attempts"]] == ["gone", "other"]
    assert native["attempts"][0]["endReason"] == "ATTEMPT_END_REASON_RELEASED"
    assert native["status"]["numFailures"] == 0


async def test_a_machine_of_one_group_may_move_to_another_when_it_is_idle(world: WebWorld) -> None:
    user = await world.user_client()
    client = await world.machine_client()
    here, there = HttpMachine(client, "m", GROUP), HttpMachine(client, "m", "other")
    first, second = await submit(user), await submit(user, container_group_id="other")
    assert await here.work() is not None
    refused = await client.get("/work", params=there._who)
    assert (refused.status_code, refused.json()["error"]) == (409, "Conflict")
    assert (await here.completed(first)).status_code == 200
    moved = await there.work()
    assert moved is not None
    assert moved["id"] == second
