"""Health, readiness, metrics, and the headers that every response carries."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.acceptance.waiting import eventually
from tests.web.doors import WebWorld
from tests.web.machines import HttpMachine
from tests.web.test_kelpie_workers import GROUP, submit
from tests.web.test_transcoder import error_of


def samples(text: str) -> dict[str, float]:
    """Every sample of an exposition by its name and labels."""
    found = re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def metrics(client: httpx.AsyncClient) -> dict[str, float]:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(response.text)


async def test_health_and_readiness(world: WebWorld) -> None:
    nobody = world.client()
    assert (await nobody.get("/healthz")).text == "ok\n"
    assert (await nobody.get("/readyz")).text == "ready\n"
    world.server.plane.health.stop()
    assert (await nobody.get("/healthz")).status_code == 200
    assert (await nobody.get("/readyz")).status_code == 503


async def test_what_is_measured(world: WebWorld) -> None:
    user, nobody = await world.user_client(), world.client()
    await submit(user)
    running = await submit(user)
    await world.clock.advance(5)
    machine = HttpMachine(await world.machine_client(), "m", GROUP)
    await machine.work()
    await machine.work()
    assert (await machine.completed(running)).status_code == 200
    await submit(user)
    await world.clock.advance(7)
    assert (await nobody.get("/jobs/x")).status_code == 401
    seen = await metrics(nobody)
    assert seen['tenure_rpc_calls_total{code="OK",rpc="JobService.CreateJobs"}'] == 3
    assert seen['tenure_rpc_calls_total{code="UNAUTHENTICATED",rpc="JobService.RetrieveJob"}'] == 1
    assert seen['tenure_rpc_seconds_count{rpc="JobService.CreateJobs"}'] == 3
    assert seen['tenure_events_total{type="JobCreated"}'] == 3
    assert seen['tenure_events_total{type="JobAssigned"}'] == 2
    assert seen["tenure_dispatch_seconds_count"] == 2
    # Both waited for the machine; that is the clock's five seconds each.
    assert seen["tenure_dispatch_seconds_sum"] == 10
    assert seen["tenure_commit_events_sum"] + 1 == seen["tenure_log_position"]
    assert seen["tenure_leases"] == 1
    assert seen["tenure_worker_sessions"] == 1
    assert seen[f'tenure_queue_waiting_jobs{{queue="{GROUP}"}}'] == 1
    assert seen[f'tenure_queue_active_jobs{{queue="{GROUP}"}}'] == 1
    assert seen[f'tenure_queue_oldest_seconds{{queue="{GROUP}"}}'] == 7
    assert seen['tenure_http_requests_total{code="202",route="/jobs"}'] == 3
    assert seen['tenure_http_requests_total{code="401",route="/jobs/{id}"}'] == 1
    assert seen['tenure_http_requests_total{code="200",route="/work"}'] == 2


async def test_what_is_measured_of_the_log_read_again(world: WebWorld) -> None:
    user, nobody = await world.user_client(), world.client()
    await submit(user)
    seen = await metrics(nobody)
    assert (seen["tenure_log_scrubbed_position"], seen["tenure_log_scrub_passes_total"]) == (0, 0)
    scrubbing = world.server.plane.scrubbing
    await world.clock.advance(61)
    await world.clock.advance(1)
    assert scrubbing.passes == 1
    seen = await metrics(nobody)
    assert seen["tenure_log_scrubbed_position"] == seen["tenure_log_position"]
    assert (seen["tenure_log_scrub_passes_total"], seen["tenure_log_scrub_errors_total"]) == (1, 0)
    assert seen["tenure_store_read_only"] == 0
    world.server.plane.store.refuse_changes("a drill")
    scrubbing.errors = 2
    for _ in range(2):
        seen = await metrics(nobody)
        assert (seen["tenure_store_read_only"], seen["tenure_log_scrub_errors_total"]) == (1, 2)


async def test_metrics_do_not_grow_with_what_callers_invent(world: WebWorld) -> None:
    nobody = world.client()
    before = set(await metrics(nobody))
    for number in range(5):
        await nobody.get(f"/v1/invented/{number}")
        await nobody.get(f"/invented/{number}")
    after = set(await metrics(nobody)) - before
    routes = {name for name in after if name.startswith("tenure_http_requests_total")}
    assert routes <= {
        'tenure_http_requests_total{code="404",route="other"}',
        'tenure_http_requests_total{code="404",route="/v1/{rest:path}"}',
        'tenure_http_requests_total{code="200",route="/metrics"}',
    }


async def test_calls_over_grpc_are_measured_too(world: WebWorld) -> None:
    user = await world.user()
    with pytest.raises(Exception, match="no such job"):
        await user.job("unknown")
    worker = await world.worker("w")
    await worker.vanish()

    async def seen() -> bool:
        found = await metrics(world.client())
        return (
            found.get('tenure_rpc_calls_total{code="NOT_FOUND",rpc="JobService.RetrieveJob"}') == 1
            and found.get('tenure_rpc_calls_total{code="CANCELLED",rpc="WorkerService.Connect"}') == 1
        )

    await eventually(seen, "both calls")


async def test_every_response_is_guarded(world: WebWorld) -> None:
    nobody = world.client()
    for address in ("/", "/v1/jobs", "/jobs", "/api/jobs/browse", "/healthz", "/nothing", "/static/nothing.js"):
        response = await nobody.get(address)
        assert response.headers["x-content-type-options"] == "nosniff", address
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in response.headers
        assert "server" not in response.headers


async def test_the_page_loads_nothing_from_elsewhere(world: WebWorld) -> None:
    response = await world.client().get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["x-frame-options"] == "DENY"
    assert (await world.client().get("/static/../app.py")).status_code == 404
    assert (await world.client().get("/static/%2e%2e/app.py")).status_code == 404


async def test_a_defect_tells_nothing(world: WebWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await world.user_client()

    async def broken(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("the database password is hunter2")

    monkeypatch.setattr(world.server.plane.store, "queue_depths", broken)
    for response in (await user.get("/metrics"), await user.get("/v1/queues")):
        assert error_of(response)[:2] == (500, "INTERNAL")
        assert "hunter2" not in response.text
        assert "reference" in response.json()["message"]


async def test_requests_that_come_while_it_stops_are_told(world: WebWorld) -> None:
    user = await world.user_client()
    world.server.plane.host.drain()
    assert error_of(await user.get("/v1/jobs")) == (503, "DRAINING", [])
    assert (await user.get("/v1/jobs")).headers["retry-after"] == "1"
    kelpie = await user.get("/jobs")
    assert (kelpie.status_code, kelpie.json()["reason"]) == (503, "DRAINING")
