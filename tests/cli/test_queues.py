from __future__ import annotations

import grpc
import pytest

from tenure.cli.text import to_duration
from tenure.v1 import job_pb2, queue_service_pb2
from tests.cli.conftest import Tenure
from tests.cli.examples import HOSTILE, S
from tests.client.scripted import Refusal, ScriptedServer


async def test_list(server: ScriptedServer, tenure: Tenure) -> None:
    queue = queue_service_pb2.Queue(
        specification=queue_service_pb2.QueueSpecification(
            name="gpu",
            max_time_allocation=to_duration(48 * 3600 * S),
            basis=job_pb2.TIME_ALLOCATION_BASIS_STARTED,
            features=queue_service_pb2.QueueFeatures(sync=True, time_extension=True),
        ),
        read_only=True,
        depth=12,
        oldest_age=to_duration(90 * S),
        workers=3,
    )
    queue.specification.products.add().product.provider = f"p{HOSTILE}"
    server.answers("BrowseQueues", queue_service_pb2.BrowseQueuesResponse(queues=[queue]))
    result = await tenure("queues", "list")
    assert result.out.splitlines()[1].split()[:6] == ["gpu", "12", "1m", "30s", "0", "3"]
    assert "from the configuration file" in result.out
    assert "\x1b" not in result.out
    [answer] = (await tenure("queues", "list", "-o", "json")).json
    assert (answer["specification"]["maxTimeAllocation"], answer["readOnly"]) == ("172800s", True)


async def test_upsert_by_options(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("UpsertQueues", queue_service_pb2.UpsertQueuesResponse(resume_token="t"))
    result = await tenure(
        *("queues", "upsert", "gpu", "--max-time", "2d", "--default-time", "1h", "--basis", "created"),
        *("--feature", "sync", "--feature", "time-extension", "--product", "p/c/i", "--request-id", "r-1"),
    )
    assert result.out == "gpu configured\n"
    [request] = server.asked["UpsertQueues"]
    [queue] = request.items
    assert (request.request_id, queue.name, queue.basis) == ("r-1", "gpu", job_pb2.TIME_ALLOCATION_BASIS_CREATED)
    assert (queue.max_time_allocation.seconds, queue.default_time_allocation.seconds) == (172_800, 3600)
    assert queue.features == queue_service_pb2.QueueFeatures(sync=True, time_extension=True)
    assert queue.products[0].product.category == "c"
    await tenure("queues", "upsert", "plain")
    assert not server.asked["UpsertQueues"][1].items[0].HasField("features")


async def test_upsert_from_a_file(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("UpsertQueues", queue_service_pb2.UpsertQueuesResponse(resume_token="t"))
    result = await tenure("queues", "upsert", "-f", "-", stdin="- name: a\n- {name: b, maxTimeAllocation: 1h}\n")
    assert result.out == "a configured\nb configured\n"
    assert [each.name for each in server.asked["UpsertQueues"][0].items] == ["a", "b"]


async def test_a_queue_of_the_configuration_file(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("UpsertQueues", Refusal(grpc.StatusCode.FAILED_PRECONDITION, "QUEUE_READ_ONLY", "gpu is configured"))
    result = await tenure("queues", "upsert", "gpu")
    assert result.code == 1
    assert "configuration file" in result.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give the NAME of a queue, or --file FILE"),
        (["a", "-f", "x"], "give the NAME of a queue, or --file FILE"),
        (["-f", "x", "--max-time", "1h"], "--file says everything"),
        (["-f", "/nowhere"], "--file: cannot read /nowhere"),
        (["a", "--feature", "magic"], "--feature: 'magic' is none of time_extension"),
        (["a", "--basis", "later"], "--basis: 'later' is neither created nor started"),
        (["a", "--max-time", "x"], "--max-time: 'x' is not a span"),
    ],
)
async def test_what_is_written_wrongly(server: ScriptedServer, tenure: Tenure, arguments: list[str], says: str) -> None:
    result = await tenure("queues", "upsert", *arguments)
    assert result.code == 2
    assert says in result.err
    assert not server.asked


async def test_pause_and_resume(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("PauseQueues", queue_service_pb2.PauseQueuesResponse(resume_token="t"))
    result = await tenure("queues", "pause", "a", "b", "a", "--reason", "new disks", "--request-id", "r-1")
    assert (result.code, result.out) == (0, "a paused\nb paused\n")
    result = await tenure("queues", "resume", "a")
    assert result.out == "a resumed\n"
    first, second = server.asked["PauseQueues"]
    assert [(item.name, item.paused, item.reason) for item in first.items] == [
        ("a", True, "new disks"),
        ("b", True, "new disks"),
    ]
    assert first.request_id == "r-1"
    assert [(item.name, item.paused) for item in second.items] == [("a", False)]
    assert second.request_id
    assert (await tenure("queues", "resume", "a", "-o", "json")).json == {"resumeToken": "t"}
