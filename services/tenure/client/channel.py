"""How a connection to a server is opened: its options, its encryption and who calls."""

from __future__ import annotations

from pathlib import Path

import grpc

from tenure.runtime.certificates import machines_authorities

DEFAULT_TARGET = "127.0.0.1:50051"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
HEALTH_CHECK = "/grpc.health.v1.Health/Check"

OPTIONS: tuple[tuple[str, int], ...] = (
    # All three: without the last one a dead peer is noticed after its default of 60 s, whatever the others say.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # A proxy variable meant for browsers would otherwise take local calls along.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Our own backoff decides when to try again; the channel's is to be ready by then.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

TlsCa = Path | bytes | bool | None


def credentials(tls_ca: TlsCa) -> grpc.ChannelCredentials | None:
    """Credentials of an encrypted channel; None: not encrypted.

    Args:
        tls_ca: file or PEM bytes of the certificates to trust; True: those of the machine; None or False: no TLS.

    Raises:
        OSError: the file cannot be read.
    """
    match tls_ca:
        case None | False:
            return None
        case True:
            return grpc.ssl_channel_credentials(root_certificates=machines_authorities())
        case bytes():
            return grpc.ssl_channel_credentials(root_certificates=tls_ca)
        case Path():
            return grpc.ssl_channel_credentials(root_certificates=tls_ca.read_bytes())


def open_aio(target: str, tls_ca: TlsCa) -> grpc.aio.Channel:
    """An asyncio channel; to be called inside a running loop."""
    trusted = credentials(tls_ca)
    if trusted is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    return grpc.aio.secure_channel(target, trusted, options=OPTIONS)


def open_sync(target: str, tls_ca: TlsCa) -> grpc.Channel:
    """A channel for threads."""
    trusted = credentials(tls_ca)
    if trusted is None:
        return grpc.insecure_channel(target, options=OPTIONS)
    return grpc.secure_channel(target, trusted, options=OPTIONS)


def call_metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata of every call: who calls."""
    return (("authorization", f"Bearer {token}"),) if token else ()
