"""The web application: all doors on one address.

/api/jobs…          UCloud's Jobs API
/jobs…, /work       Kelpie's API
/v1/…               every RPC as JSON
/session, /, /static/…   the page and signing in to it
/healthz, /readyz, /metrics
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from google.rpc import code_pb2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenure.runtime.calls import CallFailed, Channel
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.runtime.telemetry import Gauges
from tenure.v1 import (
    admin_service_pb2,
    event_service_pb2,
    job_service_pb2,
    queue_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)
from tenure.web import kelpie, pages
from tenure.web.addresses import PATTERN, Address, Answer, Refuse
from tenure.web.answers import SAFE_HEADERS
from tenure.web.credentials import metadata_of
from tenure.web.failures import native, unacceptable
from tenure.web.kelpie import Kelpie
from tenure.web.machine import Records
from tenure.web.machines import Machines
from tenure.web.operations import Operations
from tenure.web.prometheus import PrometheusMetrics
from tenure.web.signin import SignIn
from tenure.web.transcoder import PREFIX, Transcoder, bindings_of
from tenure.web.ucloud import UCloud

log = get_logger("web")

# What `/v1/` is made of.
FILES = (
    job_service_pb2.DESCRIPTOR,
    worker_service_pb2.DESCRIPTOR,
    queue_service_pb2.DESCRIPTOR,
    event_service_pb2.DESCRIPTOR,
    webhook_service_pb2.DESCRIPTOR,
    admin_service_pb2.DESCRIPTOR,
)


class Door:
    """The web door of one server.

    Args:
        channel: calls its services.
        records: what machines that come over HTTP need besides.
        clock, ids, random: as everywhere.
        metrics: where requests are counted, and what `/metrics` shows.
        gauges: reads how everything is now.
        serving: whether the server takes calls.
        open_metrics: `/metrics` asks for no token.
        work_wait_s: how long a machine that asks for work waits for a job that may be on its way.
        static: the folder of the page.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        records: Records,
        clock: Clock,
        ids: Ids,
        random: Callable[[int], bytes],
        metrics: PrometheusMetrics,
        gauges: Callable[[], Awaitable[Gauges]],
        serving: Callable[[], bool],
        open_metrics: bool,
        work_wait_s: float = kelpie.WAIT_S,
        static: Path = pages.STATIC,
    ) -> None:
        self._ids = ids
        self._metrics = metrics
        self.machines = Machines(channel=channel, records=records, clock=clock, incarnation=random(8).hex())
        self.sign_in = SignIn(channel, clock, random)
        transcoder = Transcoder(channel, bindings_of(FILES), lambda request: metadata_of(request, self.sign_in))
        operations = Operations(
            channel=channel, serving=serving, metrics=metrics, gauges=gauges, open_metrics=open_metrics
        )
        guard = self._guard
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        self.app: ASGIApp = Starlette(
            routes=[
                Address(PREFIX + "/{rest:path}", guard(transcoder.answer, native), methods=every),
                *UCloud(channel).routes(guard),
                *Kelpie(channel, self.machines, wait_s=work_wait_s).routes(guard),
                *self.sign_in.routes(guard),
                *operations.routes(guard),
                *pages.routes(static),
            ],
            exception_handlers={HTTPException: _http_error},
            middleware=[Middleware(_Outermost, metrics=metrics), Middleware(pages.PageHeaders)],
        )

    async def run(self) -> None:
        """What goes on beside the requests, until cancelled."""
        await self.machines.run()

    def _guard(self, answer: Answer, refuse: Refuse) -> Answer:
        """An endpoint whose refusals are answered in its door's form, and whose defects tell nothing."""

        async def guarded(request: Request) -> Response:
            try:
                return await answer(request)
            except CallFailed as failed:
                return refuse(failed)
            except Exception as error:
                reference = self._ids.new()
                log.error("request_failed", path=request.url.path, reference=reference, exc_info=error)
                text = f"something went wrong in the server; its log says what, under reference {reference}"
                return refuse(unacceptable(code_pb2.INTERNAL, "INTERNAL", text))

        return guarded


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown addresses, and methods that an address does not take."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        text = f"{request.url.path[:128]} takes {allowed}"
    else:
        text = "there is nothing at this address"
    response = native(unacceptable(code_pb2.UNIMPLEMENTED, "NOT_IMPLEMENTED", text, http_code=error.status_code))
    response.headers.update(error.headers or {})
    return response


class _Outermost:
    """Adds the headers that every response carries, and counts requests by the pattern of their address."""

    def __init__(self, app: ASGIApp, metrics: PrometheusMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] != "http":
            return
        code = 0

        async def sending(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", []), *SAFE_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._metrics.request_ended(scope.get(PATTERN, "other"), code)
