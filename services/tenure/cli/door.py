"""The web door beside a control plane: what joins the two, which know nothing of each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from opentelemetry import trace

from tenure.controlplane.app import ControlPlane
from tenure.controlplane.inprocess import InProcess, Records
from tenure.controlplane.listening import is_loopback
from tenure.controlplane.observing import measure_calls, measure_events, read_gauges
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.ids import Ids
from tenure.web import kelpie
from tenure.web.app import Door
from tenure.web.prometheus import PrometheusMetrics
from tenure.web.serving import serving


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSettings:
    """What a web door is to be: its open socket, the files of its certificate, and how long a machine that asks for
    work waits for a job that may be on its way.
    """

    opened: socket
    certificate: Path | None = None
    key: Path | None = None
    work_wait_s: float = kelpie.WAIT_S


@asynccontextmanager
async def open_door(
    plane: ControlPlane,
    settings: DoorSettings,
    *,
    clock: Clock,
    ids: Ids,
    random: Callable[[int], bytes],
    tracer: trace.Tracer | None = None,
) -> AsyncIterator[Door]:
    """A web door from here to the end of the context, for a control plane that takes calls.

    Raises:
        CannotServe: the certificate cannot be used.
    """
    metrics = PrometheusMetrics()
    measure_calls(plane.host, clock, metrics, tracer)
    stop_measuring = measure_events(plane.handler, plane.store, metrics)
    door = Door(
        channel=InProcess(plane.host),
        records=Records(plane.handler, plane.store, plane.workers),
        clock=clock,
        ids=ids,
        random=random,
        metrics=metrics,
        gauges=lambda: read_gauges(plane.store, plane.workers, plane.scrubbing, clock),
        serving=lambda: plane.health.serving,
        open_metrics=is_loopback(settings.opened.getsockname()[0]),
        work_wait_s=settings.work_wait_s,
    )
    try:
        async with TaskGroup() as group:
            running = group.create_task(door.run())
            async with serving(door.app, settings.opened, certificate=settings.certificate, key=settings.key):
                yield door
            running.cancel()
    finally:
        stop_measuring()
