"""What happens, told to whoever measures: calls, events, commits, how soon jobs are given out; a span for each call.

Attached from outside to the host, the handler and the store, none of which know of it; where nothing is attached
nothing is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tenure.controlplane.handler import Change, Handler
from tenure.controlplane.hosting import Host
from tenure.controlplane.pipeline import Context
from tenure.controlplane.scrubbing import Scrubbing
from tenure.controlplane.worker_service import WorkerService
from tenure.domain import events as e
from tenure.runtime.clock import Clock
from tenure.runtime.telemetry import Gauges, Metrics, QueueGauge
from tenure.store.store import QueueDepth, Store

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACE_KEYS = ("traceparent", "tracestate")
# Codes that are our fault; the others are answers.
_OUR_FAULT = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"})
# Queues that get a gauge of their own, the fullest.
MAX_QUEUES = 500


def measure_calls(host: Host, clock: Clock, metrics: Metrics | None, tracer: trace.Tracer | None) -> None:
    """Have every call of the host measured, and a span made for it."""
    calls = _Calls(clock, metrics, tracer)
    host.wrap = calls.wrap


def measure_events(handler: Handler, store: Store, metrics: Metrics) -> Callable[[], None]:
    """Have every event of a job and every commit measured; returns what ends the latter."""

    def changed(change: Change) -> None:
        for event in change.events:
            metrics.event(type(event.payload).__name__)
            if isinstance(event.payload, e.JobAssigned) and change.before is not None:
                before = change.before
                since_us = max(before.last_us, before.not_before_us or 0)
                metrics.dispatched(max(0, event.time_us - since_us) / 1e6)

    reached = store.head().position

    def grown(position: int) -> None:
        nonlocal reached
        if position > reached:
            metrics.committed(position - reached)
            reached = position

    handler.observe(changed)
    return store.listen(grown)


async def read_gauges(store: Store, workers: WorkerService, scrubbing: Scrubbing, clock: Clock) -> Gauges:
    """How everything is now."""
    depths = await store.queue_depths()
    fullest = sorted(depths.items(), key=lambda one: one[1].waiting + one[1].active, reverse=True)[:MAX_QUEUES]
    now_us = clock.wall_us()
    return Gauges(
        position=store.head().position,
        leases=workers.live_leases,
        sessions=workers.open_sessions,
        read_only=bool(store.read_only_reason),
        scrubbed_position=scrubbing.position,
        scrub_passes=scrubbing.passes,
        scrub_errors=scrubbing.errors,
        queues={name: _gauge(depth, now_us) for name, depth in fullest},
    )


def _gauge(depth: QueueDepth, now_us: int) -> QueueGauge:
    oldest_s = max(0, now_us - depth.oldest_us) / 1e6 if depth.oldest_us is not None else 0.0
    return QueueGauge(waiting=depth.waiting, active=depth.active, oldest_s=oldest_s)


class _Calls:
    """Puts itself between the transport and the handlers of calls."""

    def __init__(self, clock: Clock, metrics: Metrics | None, tracer: trace.Tracer | None) -> None:
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer

    def wrap(self, rpc: str, metadata: Iterable[tuple[str, str | bytes]], run: Any, *, stream: bool) -> Any:
        """What is to be run instead of a handler's function."""

        async def observed(requests: object, context: Context) -> Any:
            watched = _Watched(context)
            began_ns = self._clock.monotonic_ns()
            try:
                if self._tracer is None:
                    return await run(requests, watched)
                return await self._traced(self._tracer, rpc, metadata, lambda: run(requests, watched), watched)
            except asyncio.CancelledError:
                watched.code = watched.code or "CANCELLED"
                raise
            finally:
                if self._metrics is not None:
                    seconds = (self._clock.monotonic_ns() - began_ns) / 1e9
                    self._metrics.call_ended(rpc, watched.code or "OK", seconds, stream=stream)

        return observed

    async def _traced(
        self,
        tracer: trace.Tracer,
        rpc: str,
        metadata: Iterable[tuple[str, str | bytes]],
        run: Callable[[], Awaitable[Any]],
        watched: _Watched,
    ) -> Any:
        service, _, method = rpc.rpartition(".")
        carrier = {key: value for key, value in metadata if key in _TRACE_KEYS and isinstance(value, str)}
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        span = tracer.start_span(rpc, context=_PROPAGATOR.extract(carrier), kind=SpanKind.SERVER, attributes=attributes)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                return await run()
        finally:
            code = watched.code or "OK"
            span.set_attribute("rpc.response.status_code", code)
            if code in _OUR_FAULT:
                span.set_status(StatusCode.ERROR, code)
            span.end()


class _Watched:
    """A call's context that remembers with which code it was ended."""

    __slots__ = (
        "_context",
        "add_done_callback",
        "code",
        "peer",
        "read",
        "send_initial_metadata",
        "time_remaining",
        "write",
    )

    def __init__(self, context: Context) -> None:
        self._context = context
        self.code = ""
        self.add_done_callback = context.add_done_callback
        self.peer = context.peer
        self.read = context.read
        self.send_initial_metadata = context.send_initial_metadata
        self.time_remaining = context.time_remaining
        self.write = context.write

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Iterable[tuple[str, bytes]]) -> None:
        """End the call."""
        self.code = code.name
        await self._context.abort(code, details, trailing_metadata)
