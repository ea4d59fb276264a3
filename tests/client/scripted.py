"""A server that answers as a test tells it, over a real connection, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tenure.v1 import (
    admin_service_pb2_grpc,
    event_service_pb2_grpc,
    job_service_pb2_grpc,
    queue_service_pb2_grpc,
    webhook_service_pb2_grpc,
    worker_service_pb2_grpc,
)

Step = Message | Exception


class Refusal(Exception):
    """An answer that is a refusal, with details as a server of ours gives them."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str = "",
        message: str = "no",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status_pb2.Status(code=code.value[0], message=message)
        if reason:
            self._add(error_details_pb2.ErrorInfo(reason=reason, domain="tenure", metadata=dict(metadata or {})))
        if violations:
            bad = error_details_pb2.BadRequest()
            for path, description in violations:
                bad.field_violations.add(field=path, description=description)
            self._add(bad)
        self.code = code
        self.plain = not reason and not violations

    def trailing(self) -> tuple[tuple[str, str | bytes], ...]:
        """Its trailing metadata."""
        return () if self.plain else tuple(rpc_status.to_status(self.status).trailing_metadata)

    def _add(self, detail: Message) -> None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        self.status.details.append(packed)


class Silence(Exception):
    """A step of a stream: say nothing until the caller goes."""


class Meanwhile(Exception):
    """A step of a stream: it is open, without a word, while something happens."""

    def __init__(self, happens: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.happens = happens


class ScriptedServer:
    """Answers of each RPC, in order; the last one of a unary RPC is given again and again."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Any]] = defaultdict(list)
        self.metadata: list[dict[str, str]] = []
        self.time_left: list[float] = []
        self._unary: dict[str, deque[Step]] = defaultdict(deque)
        self._streams: dict[str, deque[Sequence[Step]]] = defaultdict(deque)
        self.address = ""

    def answers(self, rpc: str, *answers: Step) -> None:
        """A unary RPC gives these answers, one a call."""
        self._unary[rpc].extend(answers)

    def streams(self, rpc: str, *connections: Sequence[Step]) -> None:
        """A streaming RPC gives these steps, one list a call. The stream ends with its list, or at a refusal in it."""
        self._streams[rpc].extend(connections)

    def forget(self) -> None:
        """As new."""
        for each in (self.asked, self._unary, self._streams, self.metadata, self.time_left):
            each.clear()

    async def unary(self, rpc: str, request: Message, context: Any) -> Any:
        self._note(rpc, request, context)
        answers = self._unary[rpc]
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            await _refuse(answer, context)
        return answer

    async def stream(self, rpc: str, request: Message, context: Any) -> AsyncIterator[Any]:
        self._note(rpc, request, context)
        for step in self._streams[rpc].popleft():
            if isinstance(step, Meanwhile):
                await context.send_initial_metadata(())
                await step.happens()
                continue
            if isinstance(step, Exception):
                await _refuse(step, context)
            yield step

    def _note(self, rpc: str, request: Message, context: Any) -> None:
        self.asked[rpc].append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.time_left.append(context.time_remaining() or 0.0)


async def _refuse(step: Exception, context: Any) -> None:
    if isinstance(step, Silence):
        await asyncio.Event().wait()
    assert isinstance(step, Refusal)
    if step.plain:
        await context.abort(step.code, str(step))
    await context.abort_with_status(rpc_status.to_status(step.status))


_UNARY = {
    job_service_pb2_grpc.JobServiceServicer: (
        "CreateJobs",
        "RetrieveJob",
        "BrowseJobs",
        "ExtendJobs",
        "TerminateJobs",
        "ExplainJob",
    ),
    queue_service_pb2_grpc.QueueServiceServicer: ("UpsertQueues", "BrowseQueues", "PauseQueues"),
    worker_service_pb2_grpc.WorkerServiceServicer: ("BrowseWorkers", "DrainWorkers"),
    event_service_pb2_grpc.EventServiceServicer: (),
    webhook_service_pb2_grpc.WebhookServiceServicer: (
        "UpsertWebhooks",
        "BrowseWebhooks",
        "DeleteWebhooks",
        "RotateWebhookSecret",
        "BrowseDeliveries",
        "ReplayDeliveries",
    ),
    admin_service_pb2_grpc.AdminServiceServicer: (
        "CreateToken",
        "BrowseTokens",
        "RevokeToken",
        "VerifyLog",
        "BackupStore",
        "RetrieveStore",
        "StopJobs",
    ),
}
_STREAMS = {
    job_service_pb2_grpc.JobServiceServicer: ("WatchJobs", "FollowLogs"),
    event_service_pb2_grpc.EventServiceServicer: ("ReadEvents",),
}


def _servicer(base: type[object], script: ScriptedServer) -> Any:
    def unary(rpc: str) -> Any:
        async def answer(self: Any, request: Message, context: Any) -> Any:
            return await script.unary(rpc, request, context)

        return answer

    def stream(rpc: str) -> Any:
        async def answer(self: Any, request: Message, context: Any) -> AsyncIterator[Any]:
            async for step in script.stream(rpc, request, context):
                yield step

        return answer

    methods = {rpc: unary(rpc) for rpc in _UNARY[base]} | {rpc: stream(rpc) for rpc in _STREAMS.get(base, ())}
    return type("Scripted", (base,), methods)()


@asynccontextmanager
async def serving(script: ScriptedServer) -> AsyncIterator[ScriptedServer]:
    """The script on a port of its own."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    job_service_pb2_grpc.add_JobServiceServicer_to_server(
        _servicer(job_service_pb2_grpc.JobServiceServicer, script), server
    )
    queue_service_pb2_grpc.add_QueueServiceServicer_to_server(
        _servicer(queue_service_pb2_grpc.QueueServiceServicer, script), server
    )
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(
        _servicer(worker_service_pb2_grpc.WorkerServiceServicer, script), server
    )
    event_service_pb2_grpc.add_EventServiceServicer_to_server(
        _servicer(event_service_pb2_grpc.EventServiceServicer, script), server
    )
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(
        _servicer(admin_service_pb2_grpc.AdminServiceServicer, script), server
    )
    webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(
        _servicer(webhook_service_pb2_grpc.WebhookServiceServicer, script), server
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    await checks.set("sick", health_pb2.HealthCheckResponse.NOT_SERVING)
    script.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield script
    finally:
        await server.stop(None)


class FakeClock:
    """Time that passes only when somebody sleeps; `looks` counts how often somebody looked at it."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.looks = 0
        self._now_ns = 1_000_000_000

    def wall_us(self) -> int:
        return self._now_ns // 1000

    def monotonic_ns(self) -> int:
        self.looks += 1
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        self.sleep_now(seconds)
        await asyncio.sleep(0)

    def sleep_now(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now_ns += round(seconds * 1e9)


class CountingIds:
    """`id-1`, `id-2`, …"""

    def __init__(self) -> None:
        self._count = 0

    def new(self) -> str:
        self._count += 1
        return f"id-{self._count}"
