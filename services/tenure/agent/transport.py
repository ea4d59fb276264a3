"""The port to the server: a stream of messages in both directions, opened again and again.

`GrpcTransport` is the implementation over the wire; a simulation brings its own. A stream that ends, however it ends,
raises; nothing here knows what that means for a job (nothing: only the lease decides).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, NoReturn, Protocol, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tenure.runtime.certificates import machines_authorities
from tenure.v1 import worker_service_pb2_grpc
from tenure.v1.worker_service_pb2 import ConnectRequest, ConnectResponse, ShipLogsRequest, ShipLogsResponse

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_ERROR_PREFIX = "ERROR_REASON_"
_STATUS_DETAILS = "grpc-status-details-bin"


class StreamEnded(Exception):
    """The stream is over.

    Attributes:
        code: name of the gRPC status, as in UNAVAILABLE; OK where the server just ended it.
        reason: name of the server's reason without prefix, as in SESSION_SUPERSEDED; empty: it gave none.
        message: what the server said, for people.
    """

    def __init__(self, *, code: str, reason: str, message: str) -> None:
        super().__init__(f"{reason or code}: {message}" if message else reason or code)
        self.code = code
        self.reason = reason
        self.message = message


class Stream(Protocol):
    """One open stream."""

    async def send(self, request: ConnectRequest) -> None:
        """Hand a message to the connection; waits while the peer does not read.

        Raises:
            StreamEnded: it is over.
        """

    async def receive(self) -> ConnectResponse:
        """The next message of the server.

        Raises:
            StreamEnded: there is none.
        """

    async def finish(self) -> None:
        """Say that nothing more will be sent, after Goodbye."""

    async def close(self) -> None:
        """Drop the stream and its connection. May be called twice."""


class Transport(Protocol):
    """Opens streams to one server."""

    async def open(self) -> Stream:
        """A new stream on a new connection; whether anybody answers shows in its use."""


# Both sides see a dead peer within about 15 s. The ping timeout is set as well because its default of a minute
# overrides the keepalive timeout.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_http_proxy", 0),
    # Every stream gets a connection of its own: the wait between tries is ours, not gRPC's.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


class GrpcTransport:
    """Streams over HTTP/2."""

    def __init__(self, *, address: str, token: Callable[[], str | None], tls: bytes | bool = False) -> None:
        """Remember where to go.

        Args:
            address: HOST:PORT.
            token: asked for each stream, so that it may change; sent as bearer token; None: none is sent.
            tls: certificates (PEM) that the server's must descend from; True: those of this machine; False: no TLS.
        """
        self._address = address
        self._token = token
        roots = machines_authorities() if tls is True else tls or None
        self._credentials = grpc.ssl_channel_credentials(roots) if tls else None

    async def open(self) -> GrpcStream[ConnectRequest, ConnectResponse]:
        """A new stream on a new connection."""
        channel, metadata = self._connection()
        return GrpcStream(channel, worker_service_pb2_grpc.WorkerServiceStub(channel).Connect(metadata=metadata))

    async def open_shipping(self) -> GrpcStream[ShipLogsRequest, ShipLogsResponse]:
        """A new call that carries output, on a connection of its own: one that is not read delays nothing else."""
        channel, metadata = self._connection()
        return GrpcStream(channel, worker_service_pb2_grpc.WorkerServiceStub(channel).ShipLogs(metadata=metadata))

    def _connection(self) -> tuple[grpc.aio.Channel, tuple[tuple[str, str], ...]]:
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)
        else:
            channel = grpc.aio.secure_channel(self._address, self._credentials, options=CHANNEL_OPTIONS)
        token = self._token()
        return channel, (("authorization", f"Bearer {token}"),) if token else ()


class GrpcStream(Generic[RequestT, ResponseT]):
    """One call with streams both ways, and its connection."""

    def __init__(self, channel: grpc.aio.Channel, call: grpc.aio.StreamStreamCall[RequestT, ResponseT]) -> None:
        self._channel = channel
        self._call = call

    async def send(self, request: RequestT) -> None:
        """Hand a message to the connection.

        Raises:
            StreamEnded: it is over.
        """
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._raise_ended()

    async def receive(self) -> ResponseT:
        """The next message of the server.

        Raises:
            StreamEnded: there is none.
        """
        try:
            message = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._raise_ended()
        if message is grpc.aio.EOF:
            await self._raise_ended()
        return cast(ResponseT, message)

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    async def close(self) -> None:
        """Drop the stream and its connection."""
        self._call.cancel()
        await self._channel.close()

    async def _raise_ended(self) -> NoReturn:
        code = await self._call.code()
        details = await self._call.details()
        trailers = await self._call.trailing_metadata()
        reason, message = "", details or ""
        for key, value in trailers or ():
            if key == _STATUS_DETAILS and isinstance(value, bytes):
                reason, message = _read_status(value, message)
        raise StreamEnded(code=code.name, reason=reason, message=message)


def _read_status(data: bytes, details: str) -> tuple[str, str]:
    """Reason and message of a google.rpc.Status; what cannot be read is passed over."""
    try:
        status = status_pb2.Status.FromString(data)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info.reason.removeprefix(_ERROR_PREFIX), status.message or details
    except DecodeError:
        return "", details
    return "", status.message or details
