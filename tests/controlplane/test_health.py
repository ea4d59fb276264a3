"""The health service over a real server; it asks for no token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tenure.controlplane import health
from tenure.controlplane.health import HealthService
from tests.controlplane.hosted import Hosted, hosted

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest_asyncio.fixture
async def service() -> HealthService:
    return HealthService()


@pytest_asyncio.fixture
async def server(service: HealthService) -> AsyncIterator[Hosted]:
    async with hosted(others=((health.DESCRIPTOR, service),)) as running:
        yield running


def stub_of(server: Hosted) -> Any:
    return health_pb2_grpc.HealthStub(server.channel)


async def check(server: Hosted, name: str = "") -> int:
    stub = stub_of(server)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
    assert isinstance(response, health_pb2.HealthCheckResponse)
    return response.status


async def test_a_server_is_not_serving_before_it_says_so_nor_after(server: Hosted, service: HealthService) -> None:
    assert await check(server) == NOT_SERVING
    service.serve(server.host.service_names)
    for name in ("", "tenure.v1.JobService", "tenure.v1.WorkerService", "grpc.health.v1.Health"):
        assert await check(server, name) == SERVING
    service.stop()
    assert await check(server) == NOT_SERVING


async def test_an_unknown_service_is_not_found(server: Hosted) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await check(server, "nobody.v1.Service")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watcher_hears_of_every_change(server: Hosted, service: HealthService) -> None:
    stub = stub_of(server)
    call = stub.Watch(health_pb2.HealthCheckRequest(service="tenure.v1.JobService"), timeout=20)
    seen = []
    seen.append((await call.read()).status)
    service.serve(server.host.service_names)
    seen.append((await call.read()).status)
    service.stop()
    seen.append((await call.read()).status)
    assert seen == [UNKNOWN, SERVING, NOT_SERVING]
    call.cancel()


async def test_all_are_listed(server: Hosted, service: HealthService) -> None:
    service.serve(server.host.service_names)
    response = await service.list(health_pb2.HealthCheckRequest(), None)  # type: ignore[arg-type]
    assert set(response.statuses) == {"", *server.host.service_names}  # type: ignore[attr-defined]


async def test_health_answers_while_the_server_drains(server: Hosted, service: HealthService) -> None:
    service.serve(server.host.service_names)
    stub = stub_of(server)
    watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert (await watching.read()).status == SERVING
    service.stop()
    server.host.drain()
    assert await check(server) == NOT_SERVING
    assert (await watching.read()).status == NOT_SERVING
    server.host.end_streams()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await watching.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_check_that_never_sends_does_not_stay(service: HealthService) -> None:
    from tenure.controlplane.pipeline import Limits

    async with hosted(others=((health.DESCRIPTOR, service),), limits=Limits(first_message_s=0.1)) as server:
        async with asyncio.timeout(10):
            assert await server.stream("/grpc.health.v1.Health/Check").code() is grpc.StatusCode.DEADLINE_EXCEEDED
