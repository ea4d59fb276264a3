"""The standard health service: whether the server, and each of its services, takes calls. It asks for no token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from tenure.controlplane.call import Call
from tenure.controlplane.status import Plain

_Status = health_pb2.HealthCheckResponse
DESCRIPTOR = cast(ServiceDescriptor, health_pb2.DESCRIPTOR.services_by_name["Health"])
# By way of the descriptor, because the library's stubs do not know it.
_ListResponse = cast(
    "Callable[..., Message]",
    GetMessageClass(DESCRIPTOR.methods_by_name["List"].output_type),
)


class HealthService:
    """The servicer. Everything is NOT_SERVING until `serve`, and again from `stop` on."""

    def __init__(self) -> None:
        self._services: set[str] = {""}
        self._serving = False
        self._changed = asyncio.Event()

    @property
    def serving(self) -> bool:
        """Whether the server takes calls."""
        return self._serving

    def serve(self, services: Iterable[str]) -> None:
        """From now on these services, and the server as a whole, take calls."""
        self._services.update(services)
        self._serving = True
        self._tell()

    def stop(self) -> None:
        """From now on nothing takes calls."""
        self._serving = False
        self._tell()

    async def check(self, request: health_pb2.HealthCheckRequest, call: Call) -> health_pb2.HealthCheckResponse:
        """The state of one service; "" is the server."""
        if request.service not in self._services:
            raise Plain(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _Status(status=self._state(request.service))

    async def list(self, request: Message, call: Call) -> Message:
        """The states of all services."""
        return _ListResponse(statuses={name: _Status(status=self._state(name)) for name in sorted(self._services)})

    async def watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The state of one service, now and whenever it changes."""
        told = -1
        while True:
            changed = self._changed
            state = self._state(request.service)
            if state != told:
                yield _Status(status=state)
                told = state
            await changed.wait()

    def _state(self, service: str) -> int:
        if service not in self._services:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._serving else _Status.NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
