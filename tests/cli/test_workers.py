from __future__ import annotations

from tenure.cli.text import to_timestamp
from tenure.v1 import worker_service_pb2
from tests.cli.conftest import Tenure
from tests.cli.examples import HOSTILE, T0_US
from tests.client.scripted import ScriptedServer


async def test_list(server: ScriptedServer, tenure: Tenure) -> None:
    worker = worker_service_pb2.Worker(
        id="worker-a",
        queues=["default", "gpu"],
        slots=4,
        busy_slots=1,
        labels={"zone": f"b{HOSTILE}"},
        connected=True,
        draining=True,
        since=to_timestamp(T0_US),
        job_ids=["62348"],
        hostname=f"host{HOSTILE}",
    )
    away = worker_service_pb2.Worker(id="worker-b", suspect_until=to_timestamp(T0_US))
    server.answers("BrowseWorkers", worker_service_pb2.BrowseWorkersResponse(workers=[worker, away]))
    result = await tenure("workers", "list", "--queue", "gpu")
    _, first, second = result.out.splitlines()
    assert first.startswith("worker-a  connected, draining")
    assert "2021-10-04 06:42:56.235Z  1/4" in first
    assert "default, gpu" in first
    assert second.startswith("worker-b  away, suspect until 2021-10-04 06:42:56Z")
    assert first.isprintable()
    assert server.asked["BrowseWorkers"][0].queue == "gpu"
    assert (await tenure("workers", "list", "-o", "jsonl")).json_lines[0]["busySlots"] == 1


async def test_drain(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("DrainWorkers", worker_service_pb2.DrainWorkersResponse(worker_ids=["a"]))
    result = await tenure("workers", "drain", "a", "--release")
    assert (result.code, result.out) == (0, "a drains\n")
    assert server.asked["DrainWorkers"][0].release


async def test_drain_of_one_that_is_away(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("DrainWorkers", worker_service_pb2.DrainWorkersResponse(worker_ids=["a"]))
    result = await tenure("workers", "drain", "a", "b")
    assert (result.code, result.out) == (1, "a drains\nb is not connected\n")
