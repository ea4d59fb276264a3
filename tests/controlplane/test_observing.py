"""Calls that are watched from outside: what is told, and the spans that are made."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from tenure.controlplane.call import Call
from tenure.controlplane.observing import measure_calls
from tenure.controlplane.permissions import Role
from tenure.runtime.clock import SystemClock
from tenure.v1 import job_service_pb2
from tests.controlplane.hosted import Hosted, end_of, hosted

RETRIEVE = "/tenure.v1.JobService/RetrieveJob"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Jobs:
    """Answers with the trace that it is part of."""

    async def retrieve_job(
        self, request: job_service_pb2.RetrieveJobRequest, call: Call
    ) -> job_service_pb2.RetrieveJobResponse:
        if request.id == "defect":
            raise RuntimeError
        trace_id = get_current_span().get_span_context().trace_id
        return job_service_pb2.RetrieveJobResponse(resume_token=f"{trace_id:032x}")


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bool]] = []

    def call_ended(self, rpc: str, code: str, seconds: float, *, stream: bool) -> None:
        assert seconds >= 0
        self.calls.append((rpc, code, stream))

    def event(self, name: str) -> None:
        raise AssertionError

    def committed(self, events: int) -> None:
        raise AssertionError

    def dispatched(self, seconds: float) -> None:
        raise AssertionError


async def ask(host: Hosted, job_id: str, metadata: tuple[tuple[str, str], ...]) -> str:
    answer = await host.unary(RETRIEVE, job_service_pb2.RetrieveJobRequest(id=job_id).SerializeToString(), metadata)
    return job_service_pb2.RetrieveJobResponse.FromString(answer).resume_token if isinstance(answer, bytes) else ""


async def test_every_call_is_told_with_its_code() -> None:
    told = Told()
    async with hosted({"JobService": Jobs()}) as host:
        measure_calls(host.host, SystemClock(), told, None)
        user = await host.bearer(Role.USER)
        await ask(host, "a", user)
        await ask(host, "a", ())
        await ask(host, "no id!", user)
        await ask(host, "defect", user)
        await host.unary("/tenure.v1.JobService/Nothing", b"", user)
        call = host.stream("/tenure.v1.WorkerService/Connect", await host.bearer(Role.WORKER))
        assert (await end_of(call)).code == "UNIMPLEMENTED"
    assert told.calls == [
        ("JobService.RetrieveJob", "OK", False),
        ("JobService.RetrieveJob", "UNAUTHENTICATED", False),
        ("JobService.RetrieveJob", "INVALID_ARGUMENT", False),
        ("JobService.RetrieveJob", "INTERNAL", False),
        ("unknown", "UNIMPLEMENTED", False),
        ("WorkerService.Connect", "UNIMPLEMENTED", True),
    ]


async def test_a_call_is_a_span_of_the_callers_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with hosted({"JobService": Jobs()}) as host:
        measure_calls(host.host, SystemClock(), None, provider.get_tracer("test"))
        user = await host.bearer(Role.USER)
        assert await ask(host, "a", (*user, ("traceparent", f"00-{TRACE}-{PARENT}-01"))) == TRACE
        assert await ask(host, "a", user) != TRACE
        await ask(host, "defect", user)
        await ask(host, "a", (*user, ("traceparent", "nonsense")))
    mine, alone, defect, _ = exporter.get_finished_spans()
    assert mine.name == "JobService.RetrieveJob"
    assert mine.kind is SpanKind.SERVER
    assert mine.parent is not None
    assert f"{mine.parent.span_id:016x}" == PARENT
    assert alone.parent is None
    assert (code_of(mine), mine.status.status_code) == ("OK", StatusCode.UNSET)
    assert (code_of(defect), defect.status.status_code) == ("INTERNAL", StatusCode.ERROR)


def code_of(span: ReadableSpan) -> object:
    return (span.attributes or {})["rpc.response.status_code"]
