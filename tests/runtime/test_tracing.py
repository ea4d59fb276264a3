from __future__ import annotations

import builtins
from typing import Any

import pytest
from structlog.testing import capture_logs

from tenure.runtime import tracing


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"},
        {"OTEL_TRACES_EXPORTER": "zipkin"},
    ],
)
def test_nothing_is_sent_unless_somebody_asks_for_what_there_is(environment: dict[str, str]) -> None:
    assert tracing.configure(environment) is None


def test_without_the_sdk_the_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry.sdk"):
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with capture_logs() as records:
        assert tracing.configure({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert [record["remedy"] for record in records] == ["pip install 'tenure[otel]'"]


def test_spans_without_a_listener_do_nothing() -> None:
    with tracing.tracer().start_as_current_span("nothing") as span:
        assert not span.is_recording()
