"""Counts for Prometheus, in a registry of their own."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.exposition import generate_latest

from tenure.runtime.telemetry import Gauges

__all__ = ["CONTENT_TYPE", "PrometheusMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60, 300, 1800, 3600, 21600, 86400)
_EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class PrometheusMetrics:
    """Keeps count; see `tenure.runtime.telemetry.Metrics`."""

    def __init__(self) -> None:
        # A second line for each counter, which nobody asked for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._calls = Counter("tenure_rpc_calls", "Calls that have ended.", ("rpc", "code"), registry=registry)
        self._call_seconds = Histogram(
            "tenure_rpc_seconds", "How long unary calls took.", ("rpc",), registry=registry, buckets=_SECONDS
        )
        self._events = Counter("tenure_events", "Events of jobs made durable.", ("type",), registry=registry)
        self._commit_events = Histogram(
            "tenure_commit_events", "Events made durable together.", registry=registry, buckets=_EVENTS
        )
        self._dispatch_seconds = Histogram(
            "tenure_dispatch_seconds",
            "How long jobs waited for a worker after they could have been given out.",
            registry=registry,
            buckets=_WAITS,
        )
        self._requests = Counter("tenure_http_requests", "HTTP requests.", ("route", "code"), registry=registry)
        self._position = Gauge("tenure_log_position", "Position of the last event.", registry=registry)
        self._read_only = Gauge("tenure_store_read_only", "1 while changes are refused.", registry=registry)
        self._scrubbed = Gauge(
            "tenure_log_scrubbed_position", "Up to where the log was last read again.", registry=registry
        )
        self._scrub_passes = Counter(
            "tenure_log_scrub_passes", "How often the whole log was read again.", registry=registry
        )
        self._scrub_errors = Counter(
            "tenure_log_scrub_errors", "What was wrong when the log was read again.", registry=registry
        )
        self._scrub_seen = 0, 0
        self._leases = Gauge("tenure_leases", "Leases that are live.", registry=registry)
        self._sessions = Gauge("tenure_worker_sessions", "Workers that are connected.", registry=registry)
        self._waiting = Gauge("tenure_queue_waiting_jobs", "Jobs that wait.", ("queue",), registry=registry)
        self._active = Gauge("tenure_queue_active_jobs", "Jobs with a worker.", ("queue",), registry=registry)
        self._oldest = Gauge(
            "tenure_queue_oldest_seconds", "Age of the job that has waited longest.", ("queue",), registry=registry
        )

    def call_ended(self, rpc: str, code: str, seconds: float, *, stream: bool) -> None:
        """An RPC ended."""
        self._calls.labels(rpc, code).inc()
        if not stream:
            self._call_seconds.labels(rpc).observe(seconds)

    def event(self, name: str) -> None:
        """An event of a job is durable."""
        self._events.labels(name).inc()

    def committed(self, events: int) -> None:
        """So many events were made durable together."""
        self._commit_events.observe(events)

    def dispatched(self, seconds: float) -> None:
        """A job was given out."""
        self._dispatch_seconds.observe(seconds)

    def request_ended(self, route: str, code: int) -> None:
        """An HTTP request was answered; `route` is the address's pattern, not the address."""
        self._requests.labels(route, str(code)).inc()

    def exposition(self, gauges: Gauges) -> bytes:
        """Everything in Prometheus' text format."""
        self._position.set(gauges.position)
        self._read_only.set(gauges.read_only)
        self._scrubbed.set(gauges.scrubbed_position)
        passes, errors = self._scrub_seen
        self._scrub_passes.inc(gauges.scrub_passes - passes)
        self._scrub_errors.inc(gauges.scrub_errors - errors)
        self._scrub_seen = gauges.scrub_passes, gauges.scrub_errors
        self._leases.set(gauges.leases)
        self._sessions.set(gauges.sessions)
        for gauge in (self._waiting, self._active, self._oldest):
            gauge.clear()
        for name, queue in gauges.queues.items():
            self._waiting.labels(name).set(queue.waiting)
            self._active.labels(name).set(queue.active)
            self._oldest.labels(name).set(queue.oldest_s)
        return generate_latest(self._registry)
