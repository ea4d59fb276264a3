"""UCloud's door beside its documented calls: pages, filters, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.doors import WebWorld

ITEM: dict[str, Any] = json.loads((Path(__file__).parent.parent / "data" / "ucloud-create.json").read_text())["items"][
    0
]


def item(**more: Any) -> dict[str, Any]:
    return {**ITEM, "allowDuplicateJob": True, **more}


async def create(client: httpx.AsyncClient, **more: Any) -> str:
    response = await client.post("/api/jobs", json={"items": [item(**more)]})
    assert response.status_code == 200, response.text
    return str(response.json()["responses"][0]["id"])


def why(response: httpx.Response) -> tuple[int, str]:
    """HTTP code and `errorCode` of a refusal; AssertionError when it has another form."""
    value = response.json()
    assert list(value) == ["why", "errorCode"]
    assert value["why"]
    return response.status_code, value["errorCode"]


async def test_browse_in_pages(world: WebWorld) -> None:
    user = await world.user_client()
    ids = [await create(user, name=f"job {number}") for number in range(5)]
    page = (await user.get("/api/jobs/browse?itemsPerPage=2")).json()
    assert list(page) == ["itemsPerPage", "items", "next"]
    assert page["itemsPerPage"] == 2
    assert [job["id"] for job in page["items"]] == ids[:2:-1]
    # Other than in retrieve, updates have to be asked for.
    assert page["items"][0]["updates"] == []
    second = (await user.get("/api/jobs/browse", params={"itemsPerPage": 2, "next": page["next"]})).json()
    third = (await user.get("/api/jobs/browse", params={"itemsPerPage": 2, "next": second["next"]})).json()
    assert [job["id"] for page in (second, third) for job in page["items"]] == ids[2::-1]
    assert third["next"] is None
    default = (await user.get("/api/jobs/browse?itemsPerPage=-1&includeUpdates=true")).json()
    assert default["itemsPerPage"] == 50
    assert [len(job["updates"]) for job in default["items"]] == [1] * 5


async def test_filters(world: WebWorld) -> None:
    user = await world.user_client()
    first = await create(user)
    await world.clock.advance(1)
    second = await create(user, timeAllocation={"hours": 1, "minutes": 30, "seconds": 5})

    async def found(query: str) -> list[str]:
        response = await user.get(f"/api/jobs/browse?{query}")
        assert response.status_code == 200, response.text
        return [job["id"] for job in response.json()["items"]]

    created = 1633329776235
    assert await found(f"filterCreatedAfter={created + 1}") == [second]
    # Both ends are included, as there.
    assert await found(f"filterCreatedAfter={created}&filterCreatedBefore={created}") == [first]
    assert await found(f"filterIds={first},{second}&sortBy=createdAt&sortDirection=ascending") == [first, second]
    assert await found("sortBy=timeLeft&sortDirection=ascending") == [second, first]
    assert await found("filterState=RUNNING") == []
    assert await found("filterApplication=acme-web-application&filterProvider=example") == [second, first]
    assert await found("hideProvider=example") == []
    job = (await user.get(f"/api/jobs/retrieve?id={second}")).json()
    assert job["specification"]["timeAllocation"] == {"hours": 1, "minutes": 30, "seconds": 5}


async def test_what_is_included_when_asked(world: WebWorld) -> None:
    user = await world.user_client(project="p")
    job_id = await create(user, labels={"team": "a"}, parameters={"n": {"type": "integer", "value": 3}})
    query = "includeProduct=true&includeOthers=true&includeSupport=true&includeApplication=true"
    job = (await user.get(f"/api/jobs/retrieve?id={job_id}&{query}")).json()
    assert job["permissions"] == {
        "myself": ["READ", "EDIT"],
        "others": [
            {"entity": {"type": "project_group", "projectId": "p", "group": ""}, "permissions": ["READ", "EDIT"]}
        ],
    }
    assert job["owner"] == {"createdBy": "user", "project": "p"}
    assert job["status"]["resolvedProduct"]["queue"] == "default"
    assert job["status"]["resolvedSupport"]["timeExtension"] is True
    assert job["status"]["resolvedApplication"]["application"]["name"] == "acme-web-application"
    assert job["specification"]["parameters"] == {"n": {"type": "integer", "value": 3}}
    assert job["specification"]["labels"] == {"team": "a"}


async def test_two_extensions_in_one_request_add_up(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await create(user)
    hour = {"jobId": job_id, "requestedTime": {"hours": 1, "minutes": 0, "seconds": 0}}
    response = await user.post("/api/jobs/extend", json={"type": "bulk", "items": [hour, hour]})
    assert response.json() == {"responses": [{}, {}]}
    job = (await user.get(f"/api/jobs/retrieve?id={job_id}")).json()
    assert job["status"]["expiresAt"] == 1633354976235


def span(**more: Any) -> dict[str, Any]:
    return {"timeAllocation": {"hours": 1, "minutes": 0, "seconds": 0, **more}}


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        (span(minutes=60), "INVALID_FIELD", "items[0].timeAllocation.minutes"),
        (span(seconds=-1), "INVALID_FIELD", "items[0].timeAllocation.seconds"),
        (span(hours=1.5), "INVALID_FIELD", "items[0].timeAllocation.hours"),
        (span(hours=True), "INVALID_FIELD", "items[0].timeAllocation.hours"),
        (span(days=1), "INVALID_FIELD", "items[0].timeAllocation.days"),
        ({"timeAllocation": 5}, "INVALID_FIELD", "items[0].timeAllocation"),
        ({"application": None}, "INVALID_FIELD", "items[0].application"),
        ({"product": {"id": "x"}}, "INVALID_FIELD", "items[0].product.category"),
        ({"replica": 1}, "INVALID_FIELD", "items[0].replica"),
        ({"resources": [{}]}, "INVALID_FIELD", "items[0].resources"),
        ({"replicas": 2}, "UNSUPPORTED_FIELD", "replica"),
        ({"sshEnabled": True}, "UNSUPPORTED_FIELD", "SSH"),
        ({"parameters": {"a": {"b": [1, 2]}}, "restartOnExit": True}, "UNSUPPORTED_FIELD", "restart"),
    ],
)
async def test_creations_that_are_refused(shared_world: WebWorld, more: dict[str, Any], code: str, field: str) -> None:
    user = await shared_world.user_client()
    response = await user.post("/api/jobs", json={"items": [item(**more)]})
    assert why(response) == (400, code)
    assert field in response.json()["why"]


async def test_refusals(world: WebWorld) -> None:
    user, other = await world.user_client(), await world.user_client("other")
    worker = world.client(await world.server.token("worker", "w"))
    job_id = await create(user)
    assert why(await world.client().get(f"/api/jobs/retrieve?id={job_id}")) == (401, "CREDENTIALS_MISSING")
    assert why(await worker.get(f"/api/jobs/retrieve?id={job_id}")) == (403, "ROLE_NOT_ALLOWED")
    assert why(await other.get(f"/api/jobs/retrieve?id={job_id}")) == (404, "JOB_NOT_FOUND")
    assert why(await other.post("/api/jobs/terminate", json={"items": [{"id": job_id}]})) == (404, "JOB_NOT_FOUND")
    assert why(await user.get("/api/jobs/retrieve")) == (400, "INVALID_FIELD")
    assert why(await user.get(f"/api/jobs/retrieve?id={job_id}&includeUpdates=yes")) == (400, "INVALID_FIELD")
    assert why(await user.get("/api/jobs/browse?filterSate=RUNNING")) == (400, "INVALID_FIELD")
    assert why(await user.get("/api/jobs/browse?filterState=DONE")) == (400, "INVALID_FIELD")
    assert why(await user.get("/api/jobs/browse?sortBy=name")) == (400, "INVALID_FIELD")
    assert why(await user.post("/api/jobs", content=b"{")) == (400, "MALFORMED_REQUEST")
    assert why(await user.post("/api/jobs", json={"items": []})) == (400, "INVALID_FIELD")
    same = {"items": [item(allowDuplicateJob=False, timeAllocation={"hours": 2})]}
    first = await user.post("/api/jobs", json=same)
    assert why(await user.post("/api/jobs", json=same)) == (409, "DUPLICATE_JOB")
    await user.post("/api/jobs/terminate", json={"items": [{"id": job_id}]})
    assert (await user.post("/api/jobs/terminate", json={"items": [{"id": job_id}]})).json() == {"responses": [{}]}
    hour = {"jobId": job_id, "requestedTime": {"hours": 1}}
    assert why(await user.post("/api/jobs/extend", json={"items": [hour]})) == (400, "JOB_FINAL")
    live = first.json()["responses"][0]["id"]
    none = {"jobId": live, "requestedTime": {"hours": 0, "minutes": 0, "seconds": 0}}
    assert why(await user.post("/api/jobs/extend", json={"items": [none]})) == (400, "INVALID_FIELD")
    assert why(await user.post("/api/jobs/extend", json={"items": [{"jobId": live}]})) == (400, "INVALID_FIELD")
