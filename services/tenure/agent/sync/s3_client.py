"""boto3 clients from the usual AWS_* variables, one for each pair of timeouts, since boto3 sets them per client."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.handlers import add_expect_header

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_REGION = "us-east-1"
_PATIENT_S = 4.0


class S3Clients:
    """Makes clients and keeps them; safe for use from several threads.

    Endpoint and credentials are found as boto3 finds them: AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, profiles, roles. Where an endpoint is named, buckets are addressed by
    path, which every other store than Amazon's understands.

    Args:
        environment: The variables; a region, or an endpoint and keys that are given here go before boto3's own search.
        connections: How many a client keeps open; as many as there are threads.
    """

    def __init__(self, environment: Mapping[str, str], *, connections: int) -> None:
        self._endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None
        # boto3 itself reads only the second of the two names that are in use for a region.
        self._region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or _REGION
        self._key_id = environment.get("AWS_ACCESS_KEY_ID") or None
        self._secret = environment.get("AWS_SECRET_ACCESS_KEY") or None
        self._token = environment.get("AWS_SESSION_TOKEN") or None
        self._connections = connections
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._clients: dict[tuple[float, float], S3Client] = {}

    def get(self, *, connect_s: float, read_s: float) -> S3Client:
        """The client with these timeouts. Making the first one takes a fifth of a second: call it in a thread."""
        with self._lock:
            client = self._clients.get((connect_s, read_s))
            if client is None:
                client = self._make(connect_s, read_s)
                self._clients[connect_s, read_s] = client
            return client

    def close(self) -> None:
        """Close the connections of all clients."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _make(self, connect_s: float, read_s: float) -> S3Client:
        if self._session is None:
            self._session = boto3.Session()
        client = self._session.client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=self._region,
            aws_access_key_id=self._key_id,
            aws_secret_access_key=self._secret,
            aws_session_token=self._token,
            config=Config(
                connect_timeout=connect_s,
                read_timeout=read_s,
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=self._connections,
                tcp_keepalive=True,
                s3={"addressing_style": "path"} if self._endpoint else {},
            ),
        )
        if read_s < _PATIENT_S:
            # boto3 asks whether it may send a body and waits a second where nobody answers: a whole short lease.
            client.meta.events.unregister("before-call.s3", add_expect_header)
        return client
