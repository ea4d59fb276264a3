"""The native door: which RPCs it has, what it takes, how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor import MethodDescriptor

from tenure.web.app import FILES
from tenure.web.failures import HTTP_CODES
from tenure.web.transcoder import Binding, bindings_of
from tests.web.doors import WebWorld

BINDINGS = bindings_of(FILES)
METHODS: list[MethodDescriptor] = [
    method for file in FILES for service in file.services_by_name.values() for method in service.methods
]


def test_every_service_is_there() -> None:
    protos = Path(__file__).parents[2] / "protos"
    services = {path.relative_to(protos).as_posix() for path in protos.rglob("v1/*_service.proto")}
    assert {file.name for file in FILES} == services


def test_every_rpc_but_those_with_streams_of_requests_has_an_address() -> None:
    named = {binding.method.rpartition("/")[2] for binding in BINDINGS}
    assert named == {method.name for method in METHODS if not method.client_streaming}


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda each: each.method)
def test_reading_is_get_and_changing_is_not(binding: Binding) -> None:
    name = binding.method.rpartition("/")[2]
    reads = name.startswith(("Retrieve", "Browse", "Watch", "Read", "Follow", "Explain"))
    assert (binding.verb == "GET") is reads
    assert binding.path.startswith("/v1/")


def test_no_address_stands_for_two() -> None:
    addresses = [(binding.verb, binding.path) for binding in BINDINGS]
    assert len(set(addresses)) == len(addresses)


def test_every_code_has_an_http_code() -> None:
    assert set(HTTP_CODES) == set(range(1, 17))


def error_of(response: httpx.Response) -> tuple[int, str, list[str]]:
    """HTTP code, reason, fields at fault; AssertionError when it is no google.rpc.Status."""
    value: dict[str, Any] = response.json()
    assert set(value) == {"code", "message", "details"}
    info, *others = value["details"]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert info["domain"] == "tenure"
    fields = [each.get("field", "") for other in others for each in other.get("fieldViolations", [])]
    return response.status_code, info["reason"], fields


SPECIFICATION = {"command": "true", "timeAllocation": "18000s", "labels": {"team": "a"}}


async def create(client: httpx.AsyncClient, **more: Any) -> str:
    response = await client.post("/v1/jobs", json={"items": [{"specification": {**SPECIFICATION, **more}}]})
    assert response.status_code == 200, response.text
    return str(response.json()["responses"][0]["id"])


async def test_a_life(world: WebWorld) -> None:
    user = await world.user_client()
    world.ids.then("62348")
    assert await create(user) == "62348"
    job = (await user.get("/v1/jobs/62348")).json()["job"]
    assert job["id"] == job["providerGeneratedId"] == "62348"
    assert job["createdAt"] == "2021-10-04T06:42:56.235Z"
    assert job["status"]["state"] == "JOB_STATE_IN_QUEUE"
    assert job["specification"]["timeAllocation"] == "18000s"
    extended = await user.post("/v1/jobs:extend", json={"items": [{"jobId": "62348", "requestedTime": "3600s"}]})
    assert extended.status_code == 200
    terminated = await user.post("/v1/jobs:terminate", json={"items": [{"id": "62348"}]})
    assert terminated.json()["responses"] == [{}]
    job = (await user.get("/v1/jobs/62348")).json()["job"]
    assert (job["status"]["outcome"], job["status"]["grantedExtension"]) == ("JOB_OUTCOME_CANCELLED", "3600s")


async def test_parameters_reach_into_messages(world: WebWorld) -> None:
    user = await world.user_client()
    first, second = await create(user), await create(user, labels={"team": "b.c"})

    async def found(**parameters: Any) -> list[str]:
        response = await user.get("/v1/jobs", params=parameters)
        assert response.status_code == 200, response.text
        return [job["id"] for job in response.json()["jobs"]]

    assert await found() == [second, first]
    assert await found(sortDirection="SORT_DIRECTION_ASCENDING", page_size=1) == [first]
    assert await found(**{"flags.filterIds": [first, second]}) == [second, first]
    assert await found(**{"flags.filterLabels.team": "a"}) == [first]
    assert await found(**{"flags.filter_labels.team": "b.c"}) == [second]
    assert await found(**{"flags.filterCreatedAfter": "2021-10-04T06:42:56.236Z"}) == []
    assert await found(**{"flags.filterState": "JOB_STATE_RUNNING"}) == []
    with_updates = (await user.get("/v1/jobs?flags.includeUpdates=true")).json()["jobs"]
    assert [len(job["updates"]) for job in with_updates] == [1, 1]


async def test_pages(world: WebWorld) -> None:
    user = await world.user_client()
    ids = [await create(user) for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = (await user.get("/v1/jobs", params={"pageSize": 2, "pageToken": token})).json()
        seen += [job["id"] for job in page["jobs"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("body", "reason", "fields"),
    [
        (
            {"items": [{"specification": {"command": "x", "comand": "y"}}]},
            "INVALID_FIELD",
            ["items[0].specification.comand"],
        ),
        ({"itmes": []}, "INVALID_FIELD", ["itmes"]),
        ({"items": [{"specification": {"command": 7}}]}, "INVALID_FIELD", ["items[0].specification.command"]),
        (
            {"items": [{"specification": {"command": "x", "sync": {"before": [{"bucket": "b", "when": 1}]}}}]},
            "INVALID_FIELD",
            ["items[0].specification.sync.before[0].when"],
        ),
        (
            {"items": [{"specification": {"command": "x", "timeAllocation": "5h"}}]},
            "INVALID_FIELD",
            ["items[0].specification.timeAllocation"],
        ),
        ({"items": []}, "INVALID_FIELD", ["items"]),
        ([], "INVALID_FIELD", [""]),
        (
            {"items": [{"specification": {"command": "x", "replicas": 2}}]},
            "UNSUPPORTED_FIELD",
            ["items[0].specification.replicas"],
        ),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict | list) else None,
)
async def test_what_is_not_understood_is_refused(
    shared_world: WebWorld, body: Any, reason: str, fields: list[str]
) -> None:
    user = await shared_world.user_client()
    assert error_of(await user.post("/v1/jobs", json=body)) == (400, reason, fields)
    assert (await user.get("/v1/jobs")).json()["jobs"] == []


async def test_values_are_not_repeated(shared_world: WebWorld) -> None:
    user = await shared_world.user_client()
    body = {"items": [{"specification": {"command": "x", "environment": {"A": ["very secret"]}}}]}
    response = await user.post("/v1/jobs", json=body)
    assert error_of(response) == (400, "INVALID_FIELD", ['items[0].specification.environment["A"]'])
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "line 1, column 2"),
        (b"\xff{}", "byte 0 is not UTF-8"),
        (b'{"items": [], "items": []}', "'items' is there twice"),
        (b'{"items": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"requestId": ' + b"9" * 5000 + b"}", "a number is too long"),
        (b'{"requestId": "\\ud83d"}', "half of a surrogate pair"),
        (b'{"\\uDC00": 1}', "half of a surrogate pair"),
    ],
)
async def test_what_is_no_json_is_refused(shared_world: WebWorld, content: bytes, text: str) -> None:
    response = await (await shared_world.user_client()).post("/v1/jobs", content=content)
    assert error_of(response) == (400, "MALFORMED_REQUEST", [])
    assert text in response.json()["message"]


async def test_parameters_that_do_not_exist_are_refused(world: WebWorld) -> None:
    user = await world.user_client()
    for query in ("flags.filterSate=x", "limit=1", "flags.filterState.x=1", "pageSize=1&page_size=2", "flags=1"):
        code, reason, fields = error_of(await user.get(f"/v1/jobs?{query}"))
        assert (code, reason) == (400, "INVALID_FIELD"), query
        assert fields
    job_id = await create(user)
    assert error_of(await user.get(f"/v1/jobs/{job_id}?id=other"))[0] == 400
    assert error_of(await user.post("/v1/jobs?validateOnly=true", json={}))[0] == 400


async def test_refusals_of_services_come_through(world: WebWorld) -> None:
    user, other, nobody = await world.user_client(), await world.user_client("other"), world.client()
    job_id = await create(user)
    assert error_of(await other.get(f"/v1/jobs/{job_id}")) == (404, "JOB_NOT_FOUND", [])
    assert (await other.get(f"/v1/jobs/{job_id}")).content == (await other.get("/v1/jobs/unknown")).content
    assert error_of(await nobody.get("/v1/jobs")) == (401, "CREDENTIALS_MISSING", [])
    assert (await nobody.get("/v1/jobs")).headers["www-authenticate"].startswith("Bearer")
    wrong = world.client("tnr_wrong")
    assert error_of(await wrong.get("/v1/jobs")) == (401, "CREDENTIALS_INVALID", [])
    assert error_of(await user.get("/v1/store")) == (403, "ROLE_NOT_ALLOWED", [])
    await user.post("/v1/jobs:terminate", json={"items": [{"id": job_id}]})
    extension = {"items": [{"jobId": job_id, "requestedTime": "60s"}]}
    assert error_of(await user.post("/v1/jobs:extend", json=extension)) == (400, "JOB_FINAL", ["items[0]"])
    twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
    assert error_of(await nobody.get("/v1/jobs", headers=twice)) == (401, "CREDENTIALS_AMBIGUOUS", [])


async def test_addresses_that_do_not_exist(shared_world: WebWorld) -> None:
    user = await shared_world.user_client()
    assert error_of(await user.get("/v1/nothing")) == (404, "NOT_IMPLEMENTED", [])
    assert error_of(await user.get("/nothing")) == (404, "NOT_IMPLEMENTED", [])
    assert error_of(await user.delete("/v1/jobs")) == (405, "NOT_IMPLEMENTED", [])
    assert error_of(await user.put("/api/jobs")) == (405, "NOT_IMPLEMENTED", [])
    assert (await user.head("/v1/jobs:watch")).status_code == 405


async def test_an_idempotency_key_is_a_request_id(world: WebWorld) -> None:
    user = await world.user_client()
    body = {"items": [{"specification": SPECIFICATION}]}
    key = {"idempotency-key": "once"}
    first = (await user.post("/v1/jobs", json=body, headers=key)).json()
    again = (await user.post("/v1/jobs", json=body, headers=key)).json()
    assert again["responses"] == first["responses"]
    assert len((await user.get("/v1/jobs")).json()["jobs"]) == 1
    other = {"items": [{"specification": {"command": "false"}}]}
    assert error_of(await user.post("/v1/jobs", json=other, headers=key))[:2] == (400, "REQUEST_ID_REUSED")


async def test_a_large_body_is_taken_and_a_larger_one_refused(world: WebWorld) -> None:
    user = await world.user_client()
    items = [{"specification": {"command": "true", "arguments": ["x" * 3000]}} for _ in range(1000)]
    response = await user.post("/v1/jobs", json={"items": items})
    assert len(response.json()["responses"]) == 1000
    whole = await user.post("/v1/jobs", content=b" " * (4 * 1024 * 1024 + 1))
    assert error_of(whole) == (413, "LIMIT_EXCEEDED", [])

    async def chunks() -> Any:
        for _ in range(80):
            yield b" " * 65536

    assert error_of(await user.post("/v1/jobs", content=chunks())) == (413, "LIMIT_EXCEEDED", [])
    # A page of many jobs is made beside the loop; one that became too large is followed by another.
    page = (await user.get("/v1/jobs?pageSize=1000")).json()
    rest = (await user.get("/v1/jobs", params={"pageSize": 1000, "pageToken": page["nextPageToken"]})).json()
    assert len(page["jobs"]) > 400
    assert len({job["id"] for job in page["jobs"] + rest["jobs"]}) == 1000


async def test_administrators_find_their_rpcs(world: WebWorld) -> None:
    admin = await world.admin_client()
    made = (await admin.post("/v1/tokens", json={"role": "ROLE_USER", "subject": "somebody"})).json()
    assert (await world.client(made["secret"]).get("/v1/jobs")).status_code == 200
    assert made["token"]["id"] in [token["id"] for token in (await admin.get("/v1/tokens")).json()["tokens"]]
    assert (await admin.delete(f"/v1/tokens/{made['token']['id']}")).json() == {}
    assert (await world.client(made["secret"]).get("/v1/jobs")).status_code == 401
    assert (await admin.post("/v1/store:verify")).json()["ok"] is True
    assert [queue["specification"]["name"] for queue in (await admin.get("/v1/queues")).json()["queues"]] == ["default"]
    upserted = await admin.post("/v1/queues", json={"items": [{"name": "gpu", "defaultTimeAllocation": "3600s"}]})
    assert "resumeToken" in upserted.json()
