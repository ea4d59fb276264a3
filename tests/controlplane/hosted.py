"""A real in-process server that hosts the services of a test, over a memory store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2

from tenure.controlplane import listening
from tenure.controlplane.hosting import Host
from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.tokens import Tokens
from tenure.runtime.ids import Uuid7Ids
from tenure.store.memory import MemoryStore
from tenure.v1 import (
    admin_service_pb2,
    event_service_pb2,
    job_service_pb2,
    queue_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)
from tests.fakes import FakeClock, SequenceIds

JOBS = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
WORKERS = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
QUEUES = queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"]
EVENTS = event_service_pb2.DESCRIPTOR.services_by_name["EventService"]
WEBHOOKS = webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"]
ADMIN = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"]

OURS = (JOBS, WORKERS, QUEUES, WEBHOOKS, EVENTS, ADMIN)
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Refusal:
    """How a call ended: gRPC code, reason, text, and fields with what is wrong with each."""

    code: str
    reason: str
    message: str
    fields: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """What a refusal says; AssertionError when it does not carry what every refusal of ours does."""
    details = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert len(details) == 1, f"no google.rpc.Status: {error!r}"
    assert isinstance(details[0], bytes)
    status = status_pb2.Status.FromString(details[0])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "tenure"
    bad = error_details_pb2.BadRequest()
    if len(status.details) > 1:
        assert status.details[1].Unpack(bad)
    return Refusal(
        code=error.code().name,
        reason=info.reason,
        message=status.message,
        fields=tuple((one.field, one.description) for one in bad.field_violations),
        metadata=tuple(sorted(info.metadata.items())),
    )


class Hosted:
    """A server, its tokens, and one client channel."""

    def __init__(self, host: Host, tokens: Tokens, address: str, channel: grpc.aio.Channel) -> None:
        self.host = host
        self.tokens = tokens
        self.address = address
        self.channel = channel

    async def bearer(self, role: Role, subject: str = "somebody") -> tuple[tuple[str, str], ...]:
        """The metadata of a caller with a new token."""
        _, secret = await self.tokens.create(role=role, subject=subject)
        return (("authorization", f"Bearer {secret}"),)

    async def unary(
        self,
        path: str,
        raw: bytes = b"",
        metadata: tuple[tuple[str, str], ...] = (),
        *,
        within_s: float = PATIENCE_S,
    ) -> bytes | Refusal:
        """The answer to a unary call with these bytes."""
        try:
            return await self.method(path)(raw, metadata=metadata, timeout=within_s)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)

    def method(self, path: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """A unary method that takes and gives bytes."""
        return self.channel.unary_unary(path, request_serializer=None, response_deserializer=None)

    def stream(
        self, path: str, metadata: tuple[tuple[str, str], ...] = (), *, within_s: float = PATIENCE_S
    ) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """An open call that takes and gives bytes, message by message."""
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(
            path, request_serializer=None, response_deserializer=None
        )
        return method(metadata=metadata, timeout=within_s)


async def end_of(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> Refusal:
    """How a stream ends; its messages are read and forgotten."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
        assert await call.code() is not grpc.StatusCode.OK, "the stream ended well"
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError("a stream that ended badly raises")


@asynccontextmanager
async def hosted(
    servicers: Mapping[str, object] | None = None,
    *,
    limits: Limits | None = None,
    others: tuple[tuple[ServiceDescriptor, object], ...] = (),
    tokens: Tokens | None = None,
    patient: tuple[str, ...] = (),
) -> AsyncIterator[Hosted]:
    """A server with all our services; those without a servicer have no method that is built."""
    tokens = tokens or Tokens(MemoryStore(), FakeClock(), Uuid7Ids())
    host = Host(tokens, SequenceIds("reference-1"), limits)
    for descriptor in OURS:
        host.add(descriptor, (servicers or {}).get(descriptor.name, object()), patient=patient)
    for descriptor, servicer in others:
        host.add(descriptor, servicer)
    host.prepare()
    server = grpc.aio.server(options=listening.options(100))
    server.add_generic_rpc_handlers((host,))
    address = listening.bind(server, "127.0.0.1:0", None)
    await server.start()
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        try:
            yield Hosted(host, tokens, address, channel)
        finally:
            host.drain()
            host.end_streams()
            await server.stop(1.0)
