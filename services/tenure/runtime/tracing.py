"""Traces, where the standard `OTEL_…` variables ask for them and the package's extra `otel` is installed.

Without either nothing is imported but the API, whose spans do nothing. Only composition roots call `configure`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opentelemetry import trace

from tenure import __version__
from tenure.runtime.logs import get_logger

log = get_logger("tracing")

SERVICE_NAME = "tenure"
# Any of these says that somebody wants traces.
_ASKING = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Spans that wait for a collector that does not answer are given up after this.
_GOODBYE_MS = 2000


def configure(environment: Mapping[str, str]) -> Callable[[], None] | None:
    """Send spans where the environment says; returns what ends that, or None when nobody asked.

    `OTEL_TRACES_EXPORTER` is otlp (the default), console or none; the exporter and the SDK read the other variables.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    asked = any(environment.get(name) for name in _ASKING)
    if not asked or exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        return _begin(exporter, environment)
    except ImportError:
        log.warning("traces_not_sent", why="the SDK is not installed", remedy="pip install 'tenure[otel]'")
        return None


def tracer() -> trace.Tracer:
    """What makes the spans; they do nothing unless `configure`, or whoever runs this process, set an SDK up."""
    return trace.get_tracer("tenure", __version__)


def _begin(exporter: str, environment: Mapping[str, str]) -> Callable[[], None] | None:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    sender: SpanExporter
    match exporter:
        case "console":
            sender = ConsoleSpanExporter()
        case "otlp":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            sender = OTLPSpanExporter()
        case _:
            log.warning("traces_not_sent", why=f"no such exporter: {exporter}", remedy="otlp, console or none")
            return None
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE_NAME}
    provider = TracerProvider(resource=Resource.create({**named, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(sender))
    trace.set_tracer_provider(provider)

    def end() -> None:
        provider.force_flush(_GOODBYE_MS)
        provider.shutdown()

    return end
