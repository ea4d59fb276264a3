"""What an operator asks of a server: `client.admin` of both clients, the same methods on both.

The clients give what they call with, so that deadlines and repeats are theirs.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol, TypeVar

import grpc

from tenure.runtime.ids import Ids
from tenure.v1 import admin_service_pb2 as pb
from tenure.v1 import admin_service_pb2_grpc

# Checking or copying a large log takes as long as it takes; that the server is still there, the connection tells.
UNLIMITED = math.inf


RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class AsyncCall(Protocol):
    """Makes one unary call, with its retries unless it is not to be repeated."""

    async def __call__(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        request_id: str = "",
        timeout_s: float | None = None,
        repeat: bool = True,
    ) -> ResponseT:
        """Make the call."""


class SyncCall(Protocol):
    """Makes one unary call, with its retries unless it is not to be repeated."""

    def __call__(
        self,
        rpc: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        request_id: str = "",
        timeout_s: float | None = None,
        repeat: bool = True,
    ) -> ResponseT:
        """Make the call."""


class Admin:
    """`client.admin` for asyncio."""

    def __init__(self, channel: grpc.aio.Channel, call: AsyncCall, ids: Ids) -> None:
        self._stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        self._call = call
        self._ids = ids

    async def create_token(
        self, role: pb.Role.ValueType, subject: str, *, project: str = "", queues: Iterable[str] = ()
    ) -> pb.CreateTokenResponse:
        """Make a token; its secret is in this answer and nowhere else. Not repeated by itself: after UNAVAILABLE there
        may be one whose secret nobody has, which `browse_tokens` shows and `revoke_token` ends.

        Args:
            role: what it may do.
            subject: who it speaks for.
            project: project of its jobs.
            queues: queues that a worker's token is bound to; none: any.
        """
        request = pb.CreateTokenRequest(role=role, subject=subject, project=project, queues=queues)
        return await self._call(self._stub.CreateToken, request, repeat=False)

    async def browse_tokens(self, *, page_size: int = 0) -> AsyncIterator[pb.Token]:
        """The tokens, the oldest first, without their secrets; revoked ones included."""
        request = pb.BrowseTokensRequest(page_size=page_size)
        while True:
            page = await self._call(self._stub.BrowseTokens, request)
            for token in page.tokens:
                yield token
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token; calls with it are refused from then on."""
        await self._call(self._stub.RevokeToken, pb.RevokeTokenRequest(id=token_id))

    async def verify_log(self, *, timeout_s: float = UNLIMITED) -> pb.VerifyLogResponse:
        """Have the log checked; what is wrong is in the answer."""
        return await self._call(self._stub.VerifyLog, pb.VerifyLogRequest(), timeout_s=timeout_s)

    async def backup_store(self, path: str, *, timeout_s: float = UNLIMITED) -> pb.BackupStoreResponse:
        """Have the store copied into a new file on the server's machine, and the copy checked."""
        return await self._call(self._stub.BackupStore, pb.BackupStoreRequest(path=path), timeout_s=timeout_s)

    async def retrieve_store(self) -> pb.RetrieveStoreResponse:
        """How the store is."""
        return await self._call(self._stub.RetrieveStore, pb.RetrieveStoreRequest())

    async def stop_jobs(self, ids: Iterable[str], reason: str, *, request_id: str = "") -> pb.StopJobsResponse:
        """End jobs as operator, all or none."""
        request = pb.StopJobsRequest(ids=ids, reason=reason, request_id=request_id or self._ids.new())
        return await self._call(self._stub.StopJobs, request, request_id=request.request_id)


class SyncAdmin:
    """`client.admin` for threads."""

    def __init__(self, channel: grpc.Channel, call: SyncCall, ids: Ids) -> None:
        self._stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        self._call = call
        self._ids = ids

    def create_token(
        self, role: pb.Role.ValueType, subject: str, *, project: str = "", queues: Iterable[str] = ()
    ) -> pb.CreateTokenResponse:
        """Make a token; its secret is in this answer and nowhere else. Not repeated by itself: after UNAVAILABLE there
        may be one whose secret nobody has, which `browse_tokens` shows and `revoke_token` ends.

        Args:
            role: what it may do.
            subject: who it speaks for.
            project: project of its jobs.
            queues: queues that a worker's token is bound to; none: any.
        """
        request = pb.CreateTokenRequest(role=role, subject=subject, project=project, queues=queues)
        return self._call(self._stub.CreateToken, request, repeat=False)

    def browse_tokens(self, *, page_size: int = 0) -> Iterator[pb.Token]:
        """The tokens, the oldest first, without their secrets; revoked ones included."""
        request = pb.BrowseTokensRequest(page_size=page_size)
        while True:
            page = self._call(self._stub.BrowseTokens, request)
            yield from page.tokens
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token; calls with it are refused from then on."""
        self._call(self._stub.RevokeToken, pb.RevokeTokenRequest(id=token_id))

    def verify_log(self, *, timeout_s: float = UNLIMITED) -> pb.VerifyLogResponse:
        """Have the log checked; what is wrong is in the answer."""
        return self._call(self._stub.VerifyLog, pb.VerifyLogRequest(), timeout_s=timeout_s)

    def backup_store(self, path: str, *, timeout_s: float = UNLIMITED) -> pb.BackupStoreResponse:
        """Have the store copied into a new file on the server's machine, and the copy checked."""
        return self._call(self._stub.BackupStore, pb.BackupStoreRequest(path=path), timeout_s=timeout_s)

    def retrieve_store(self) -> pb.RetrieveStoreResponse:
        """How the store is."""
        return self._call(self._stub.RetrieveStore, pb.RetrieveStoreRequest())

    def stop_jobs(self, ids: Iterable[str], reason: str, *, request_id: str = "") -> pb.StopJobsResponse:
        """End jobs as operator, all or none."""
        request = pb.StopJobsRequest(ids=ids, reason=reason, request_id=request_id or self._ids.new())
        return self._call(self._stub.StopJobs, request, request_id=request.request_id)
