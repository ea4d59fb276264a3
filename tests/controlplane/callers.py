"""Generated stubs with a token, over one channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from tenure.v1 import (
    admin_service_pb2_grpc,
    event_service_pb2_grpc,
    job_service_pb2_grpc,
    queue_service_pb2_grpc,
    webhook_service_pb2_grpc,
)
from tests.controlplane.hosted import PATIENCE_S, Refusal, refusal_of


class Caller:
    """Somebody with a token."""

    def __init__(self, channel: grpc.aio.Channel, secret: str) -> None:
        self.metadata = (("authorization", f"Bearer {secret}"),)
        self.jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self.queues = queue_service_pb2_grpc.QueueServiceStub(channel)
        self.log = event_service_pb2_grpc.EventServiceStub(channel)
        self.webhooks = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)

    async def ask(self, rpc: Any, request: Any) -> Any:
        """The answer of a unary call."""
        return await rpc(request, metadata=self.metadata, timeout=PATIENCE_S)

    def open(self, rpc: Any, request: Any) -> Any:
        """The stream of a call."""
        return rpc(request, metadata=self.metadata, timeout=PATIENCE_S)


@asynccontextmanager
async def channel_to(
    address: str, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    channel = (
        grpc.aio.secure_channel(address, credentials, options=options)
        if credentials
        else grpc.aio.insecure_channel(address, options=options)
    )
    async with channel:
        yield channel


async def refused(call: Awaitable[object]) -> Refusal:
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal_of(error.value)
