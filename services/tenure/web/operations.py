"""What whoever runs the server asks: is it alive, does it take calls, how is it doing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tenure.runtime.calls import Channel
from tenure.runtime.telemetry import Gauges
from tenure.v1 import admin_service_pb2
from tenure.web.addresses import Address, Guard
from tenure.web.credentials import metadata_of
from tenure.web.failures import native
from tenure.web.prometheus import CONTENT_TYPE, PrometheusMetrics


class Operations:
    """`/healthz`, `/readyz` and `/metrics`.

    Args:
        channel: for asking whether a caller is an administrator.
        serving: whether the server takes calls.
        metrics: what is shown.
        gauges: reads what is not counted.
        open_metrics: anybody may read them; else only administrators, because they name queues.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        serving: Callable[[], bool],
        metrics: PrometheusMetrics,
        gauges: Callable[[], Awaitable[Gauges]],
        open_metrics: bool,
    ) -> None:
        self._channel = channel
        self._serving = serving
        self._metrics = metrics
        self._gauges = gauges
        self._open_metrics = open_metrics

    def routes(self, guard: Guard) -> list[Address]:
        """The addresses; `guard` answers refusals."""
        return [
            Address("/healthz", guard(self._healthz, native), methods=["GET"]),
            Address("/readyz", guard(self._readyz, native), methods=["GET"]),
            Address("/metrics", guard(self._show_metrics, native), methods=["GET"]),
        ]

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        if self._serving():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("the server is stopping\n", 503)

    async def _show_metrics(self, request: Request) -> Response:
        if not self._open_metrics:
            await self._channel.unary(
                "/tenure.v1.AdminService/RetrieveStore",
                admin_service_pb2.RetrieveStoreRequest(),
                admin_service_pb2.RetrieveStoreResponse,
                metadata_of(request),
            )
        text = self._metrics.exposition(await self._gauges())
        return Response(text, 200, {"content-type": CONTENT_TYPE})
