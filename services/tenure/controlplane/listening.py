"""The socket: addresses, encryption, and what gRPC is told about connections.

Two of its defaults would hurt in silence: with `so_reuseport` two servers share a port without knowing, and the 60 s of
`http2.ping_timeout` override every shorter keepalive timeout. Metadata has one limit and not two, because between a
soft and a hard one calls are refused at random.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc

from tenure.controlplane.pipeline import MAX_MESSAGE_BYTES
from tenure.runtime.certificates import CertificateUnusable, read_pair

MAX_METADATA_BYTES = 8192
# One connection may carry many workers or watchers: those behind a proxy share one.
MAX_STREAMS_A_CONNECTION = 1000
# Calls that may wait to be taken, at least: a few connections full of calls are no reason to turn others away.
MIN_PENDING = 10_000


class CannotListen(Exception):
    """The server cannot serve on this address; the text is for the operator."""


class WrongAddress(CannotListen):
    """What was written can never be right, so that starting again is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """Where certificate chain and private key are, both PEM."""

    certificate: Path
    key: Path


def split(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPv6]:PORT`; port 0 is any free one.

    Raises:
        WrongAddress: it is not of that form.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:/\s\[\]]+):(\d{1,5})", listen)
    if match is None or int(match[2]) > 65535:
        message = f"{listen!r} is not an address to listen on: write HOST:PORT, as in 127.0.0.1:50051"
        raise WrongAddress(message)
    return match[1], int(match[2])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_open(host: str, encryption: Encryption | None, *, insecure: bool) -> None:
    """Nobody is to send tokens over a network in the clear without having said so.

    Raises:
        WrongAddress: other machines could connect without encryption, and nobody has allowed it.
    """
    if encryption is None and not insecure and not is_loopback(host):
        message = f"{host} can be reached from other machines: give --tls-cert and --tls-key, or --insecure"
        raise WrongAddress(message)


def options(max_workers: int) -> list[tuple[str, int]]:
    """What gRPC is told, for so many workers with a connection each."""
    pending = max(max_workers, MIN_PENDING)
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.max_concurrent_streams", MAX_STREAMS_A_CONNECTION),
        # Else each stream of a fast connection may send megabytes that nobody has asked for yet.
        ("grpc.http2.bdp_probe", 0),
        # By default 1000 to 3000 calls may wait to be taken: a fleet that comes back at once would be refused.
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", pending),
        ("grpc.max_allowed_incoming_connections", 2 * max(max_workers, 1000)),
    ]


def bind(server: grpc.aio.Server, listen: str, encryption: Encryption | None) -> str:
    """Take the address; returns it with the port it really has.

    Raises:
        CannotListen: it is taken or not of this machine, or the certificate cannot be used.
    """
    host, _ = split(listen)
    try:
        if encryption is None:
            port = server.add_insecure_port(listen)
        else:
            port = server.add_secure_port(listen, _credentials(encryption))
    except RuntimeError:
        message = f"cannot listen on {listen}: the port is taken, or the address is not one of this machine"
        raise CannotListen(message) from None
    return f"{host}:{port}"


def _credentials(encryption: Encryption) -> grpc.ServerCredentials:
    known = _Certificates(encryption)
    # The stubs do not know that a fetcher may say "unchanged".
    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", known.fetch)
    return grpc.dynamic_ssl_server_credentials(known.first(), fetch, require_client_authentication=False)


class _Certificates:
    """Reads the files anew when they have changed, so that certificates are renewed without a restart."""

    def __init__(self, encryption: Encryption) -> None:
        self._files = encryption
        self._seen: tuple[int, int] = (0, 0)

    def first(self) -> grpc.ServerCertificateConfiguration:
        try:
            self._seen = self._stamps()
            return self._read()
        except OSError as error:
            message = f"cannot read {error.filename}: {error.strerror}"
            raise CannotListen(message) from None
        except CertificateUnusable as error:
            raise CannotListen(str(error)) from None

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # Called in a thread of gRPC before handshakes. None: go on with what is known, the best when a file is being
        # replaced at this moment.
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return None
            configuration = self._read()
        except (OSError, CertificateUnusable):
            return None
        self._seen = stamps
        return configuration

    def _stamps(self) -> tuple[int, int]:
        return self._files.certificate.stat().st_mtime_ns, self._files.key.stat().st_mtime_ns

    def _read(self) -> grpc.ServerCertificateConfiguration:
        chain, key = read_pair(self._files.certificate, self._files.key)
        return grpc.ssl_server_certificate_configuration([(key, chain)])
