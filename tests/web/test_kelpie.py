"""Kelpie's door for users: submitting, lists, and how it refuses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.web.doors import WebWorld
from tests.web.machines import HttpMachine
from tests.web.test_kelpie_workers import GROUP, job, submit

RULE = {"bucket": "bucket", "prefix": "a/b", "local_path": "/app/data", "direction": "download"}


async def listed(user: httpx.AsyncClient, **parameters: Any) -> list[str]:
    response = await user.get("/jobs", params=parameters)
    assert response.status_code == 200, response.text
    value = response.json()
    assert list(value) == ["_count", "jobs"]
    assert value["_count"] == len(value["jobs"])
    return [each["id"] for each in value["jobs"]]


async def test_lists(world: WebWorld) -> None:
    user = await world.user_client()
    ids = [await submit(user, arguments=[str(number)]) for number in range(7)]
    other = await submit(user, container_group_id="other")
    machine = HttpMachine(await world.machine_client(), "m", GROUP)
    for _ in range(3):
        await machine.work()
    await machine.completed(ids[0])
    await user.delete(f"/jobs/{ids[1]}")
    assert await listed(user) == [other, *ids[::-1]]
    assert await listed(user, asc=True, container_group_id=GROUP) == ids
    assert await listed(user, page_size=3, asc="true") == ids[:3]
    assert await listed(user, page_size=3, page=2, asc="true") == ids[3:6]
    assert await listed(user, page_size=3, page=9) == []
    assert await listed(user, status="completed") == [ids[0]]
    assert await listed(user, status="canceled") == [ids[1]]
    assert await listed(user, status="running") == [ids[2]]
    assert await listed(user, status="pending", container_group_id=GROUP) == ids[:2:-1]
    assert await listed(user, status="pending", page_size=2, page=2, asc="true") == ids[5:7]
    assert await listed(user, status="failed") == []
    assert await listed(await world.user_client("other")) == []


async def test_defaults_and_what_is_left_out(world: WebWorld) -> None:
    user = await world.user_client()
    minimal = (await user.post("/jobs", json={"command": "true", "container_group_id": GROUP})).json()
    assert set(minimal) == {
        *("id", "user_id", "status", "created", "num_failures", "machine_id", "command", "arguments", "environment"),
        *("max_failures", "heartbeat_interval", "container_group_id", "webhook", "compression", "num_heartbeats"),
    }
    assert (minimal["max_failures"], minimal["heartbeat_interval"], minimal["compression"]) == (3, 30, False)
    sync = {"before": [{**RULE, "pattern": "x$"}]}
    full = (await user.post("/jobs", json=job(sync=sync, compression=True, max_failures=1))).json()
    assert full["sync"] == {"before": [{**RULE, "prefix": "a/b/", "pattern": "x$"}]}
    assert (full["compression"], full["max_failures"]) == (True, 1)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"command": None}, "command"),
        ({"container_group_id": None}, "container_group_id"),
        ({"max_failures": 0}, "max_failures"),
        ({"heartbeat_interval": "30"}, "heartbeat_interval"),
        ({"environment": {"A": 1}}, "environment"),
        ({"arguments": "x"}, "arguments"),
        ({"max_failure": 3}, "max_failure"),
        ({"sync": {"befor": []}}, "sync.befor"),
        ({"sync": {"before": [{**RULE, "direction": "up"}]}}, "sync.before[0].direction"),
        ({"sync": {"after": [{"bucket": "b"}]}}, "sync.after[0].prefix"),
        ({"input_bucket": "b", "input_prefix": "p"}, "input_bucket"),
    ],
)
async def test_submissions_that_are_refused(shared_world: WebWorld, more: dict[str, Any], field: str) -> None:
    user = await shared_world.user_client()
    response = await user.post("/jobs", json=job(**more))
    value = response.json()
    assert (response.status_code, value["error"]) == (400, "Invalid request")
    assert field in [each["field"] for each in value["fields"]]
    assert value["fields"][0]["field"] in value["message"]


async def test_a_batch_is_all_or_nothing_and_says_which(shared_world: WebWorld) -> None:
    user = await shared_world.user_client()
    good = job()
    for bad, index in ((job(max_failures=0), 3), (job(sync={"before": [{**RULE, "prefix": "../x"}]}), 3)):
        response = await user.post("/jobs/batch", json=[good, good, good, bad])
        assert (response.status_code, response.json()["index"]) == (400, index)
    assert (await user.post("/jobs/batch", json=[])).status_code == 400
    assert (await user.post("/jobs/batch", json=[good] * 1001)).status_code == 400
    assert (await user.post("/jobs/batch", json=good)).status_code == 400
    assert await listed(user) == []


async def test_a_large_batch_comes_back_in_order(world: WebWorld) -> None:
    user = await world.user_client()
    batch = [job(arguments=[str(number), "x" * 20_000]) for number in range(150)]
    response = await user.post("/jobs/batch", json=batch)
    assert response.status_code == 202, response.text
    assert [each["arguments"][0] for each in response.json()] == [str(number) for number in range(150)]
    page = (await user.get("/jobs", params={"asc": "true", "page_size": 150})).json()
    assert [each["id"] for each in page["jobs"]] == [each["id"] for each in response.json()]


async def test_refusals(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await submit(user)
    for response, code in (
        (await user.get("/jobs/unknown"), 404),
        (await user.delete("/jobs/unknown"), 404),
        (await (await world.user_client("other")).get(f"/jobs/{job_id}"), 404),
        (await world.client().get(f"/jobs/{job_id}"), 401),
        (await user.get("/jobs?status=done"), 400),
        (await user.get("/jobs?pagesize=3"), 400),
        (await user.get("/jobs?page=0"), 400),
        (await user.post("/jobs", content=b"[]"), 400),
    ):
        assert response.status_code == code, response.text
        assert {"error", "message", "reason"} <= set(response.json())
    # Ending what has ended is no mistake.
    assert (await user.delete(f"/jobs/{job_id}")).status_code == 202
    assert (await user.delete(f"/jobs/{job_id}")).status_code == 202


async def test_both_headers_are_taken(world: WebWorld) -> None:
    token = await world.server.token("user", "user")
    by_key = world.client(**{"x-kelpie-key": token})
    job_id = await submit(by_key)
    assert (await world.client(token).get(f"/jobs/{job_id}")).status_code == 200
    assert (await world.client(**{"x-kelpie-key": "wrong"}).get(f"/jobs/{job_id}")).status_code == 401
