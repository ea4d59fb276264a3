"""Random messages for every RPC, and random conversations of workers: whatever comes, the server answers as it should.

The calls take the way of every call but the socket. Its clock stands still, so that nothing happens but what is asked
for.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tenure.controlplane.config import Configuration
from tenure.controlplane.hosting import Call, Host
from tenure.controlplane.inprocess import InProcess
from tenure.controlplane.permissions import Role
from tenure.controlplane.tokens import Tokens
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.runtime.calls import CallFailed
from tenure.store.memory import MemoryStore
from tenure.v1 import admin_service_pb2, job_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.harness import running_server
from tests.controlplane.webhooks.rig import LOOSE
from tests.fakes import FakeClock, SequenceIds
from tests.hostile.catalogue import BROWSE, CONNECT, CREATE, RETRIEVE
from tests.hostile.judge import harm
from tests.hostile.outcome import of_status
from tests.hostile.random_calls import House, talk
from tests.hostile.random_messages import messages, mutated
from tests.hostile.scene import METHODS, STANDING, path_of, raw_of
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, first_seed, size

SHAPED, BROKEN, CONVERSATIONS = size(short=6, full=800), size(short=4, full=400), size(short=15, full=2000)

RPCS = sorted(rpc for rpc in METHODS if not METHODS[rpc].client_streaming)

runs = 0
accepted = 0
violations: list[str] = []


@pytest.fixture(scope="module")
def began() -> float:
    """When the first of these was run, in seconds of the monotonic clock."""
    return time.monotonic()


def examples(count: int) -> settings:
    """So many; in the long form others than always."""
    return settings(
        max_examples=count, deadline=None, derandomize=not FULL, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, began: float) -> AsyncIterator[House]:
    directory: Path = tmp_path_factory.mktemp("random") / "data"
    clock, ids = FakeClock(rounds=3), SequenceIds()
    configuration = Configuration(webhooks=WebhookSettings(targets=LOOSE))
    async with running_server(f"sqlite://{directory}", clock=clock, ids=ids, configuration=configuration) as server:
        tokens = {
            "owner": await server.token("user", "owner"),
            "worker": await server.token("worker", "machines"),
            "admin": server.admin_secret,
        }
        house = House(server, InProcess(server.plane.host), tokens)
        ids.then(STANDING)
        outcome = await house.call(CREATE, raw_of(CREATE, {"items": [{"specification": {"command": "true"}}]}))
        assert outcome.code == "OK"
        yield house


async def look_at(house: House, rpc: str, raw: bytes) -> None:
    """Send it, and judge what comes."""
    global runs, accepted
    runs += 1
    before = house.position
    outcome = await house.call(rpc, raw)
    wrong = list(harm(outcome))
    if outcome.reason and house.position != before:
        wrong.append("it was refused, and something was written down")
    if not await house.is_well():
        wrong.append("the next good call does not work")
    accepted += outcome.code == "OK"
    if wrong:
        violations[:] = [*violations[:20], f"{rpc} {raw[:200].hex()}: {', '.join(wrong)}"]
    assert not wrong


SHAPES = {rpc: messages(method.input_type) for rpc, method in METHODS.items()}
# Messages that are good, as a beginning of bad ones.
SEEDS: dict[str, list[dict[str, Any]]] = {
    "JobService.CreateJobs": [
        {
            "items": [
                {
                    "specification": {
                        "command": "true",
                        "queue": "still",
                        "arguments": ["a", "b"],
                        "environment": {"A": "b"},
                        "parameters": {"x": [1, {"y": None}]},
                        "time_allocation": "3600s",
                        "labels": {"a": "b"},
                        "sync": {"during": [{"bucket": "bucket", "prefix": "a/", "local_path": "a"}]},
                    }
                }
            ],
            "request_id": "again",
        }
    ],
    "JobService.ExtendJobs": [{"items": [{"job_id": "standing", "requested_time": "60s"}], "request_id": "again"}],
    "JobService.BrowseJobs": [{"flags": {"filter_state": 1, "filter_labels": {"a": "b"}}, "page_size": 2}],
}


def bytes_of(rpc: str) -> st.SearchStrategy[bytes]:
    """Bytes of good and of random messages."""
    shaped = SHAPES[rpc].map(lambda message: message.SerializeToString())
    good = [raw_of(rpc, sent) for sent in SEEDS.get(rpc, [{"id": "standing"}] if rpc == RETRIEVE else [])]
    return st.one_of(st.sampled_from(good), shaped) if good else shaped


@pytest.mark.parametrize("rpc", RPCS)
@seed(first_seed())
@examples(SHAPED)
@given(data=st.data())
async def test_messages_of_the_right_shape(house: House, rpc: str, data: st.DataObject) -> None:
    message = data.draw(SHAPES[rpc])
    await look_at(house, rpc, message.SerializeToString())


@pytest.mark.parametrize("rpc", RPCS)
@seed(first_seed())
@examples(BROKEN)
@given(data=st.data())
async def test_messages_with_broken_bytes(house: House, rpc: str, data: st.DataObject) -> None:
    await look_at(house, rpc, data.draw(mutated(bytes_of(rpc))))


# --- conversations ----------------------------------------------------------------------------------------------------

HELLO = {"hello": {"worker_id": "w", "incarnation": "i", "protocol_version": 1, "queues": ["random"], "slots": 4}}


@seed(first_seed())
@examples(CONVERSATIONS)
@given(data=st.data())
async def test_conversations_of_workers(house: House, data: st.DataObject) -> None:
    global runs, accepted
    script = data.draw(st.lists(SHAPES[CONNECT], min_size=1, max_size=6))
    if data.draw(st.integers(0, 9)):
        script.insert(0, pb.ConnectRequest.FromString(raw_of(CONNECT, HELLO)))
    await house.call(CREATE, raw_of(CREATE, {"items": [{"specification": {"command": "true", "queue": "random"}}]}))
    outcome = await talk(house, script)
    runs += 1
    accepted += outcome.code == "OK"
    wrong = list(harm(outcome))
    if not await house.is_well():
        wrong.append("the next good call does not work")
    if wrong:
        violations[:] = [*violations[:20], f"a conversation of {len(script)}: {', '.join(wrong)}"]
    assert not wrong


# --- the control, and the end -----------------------------------------------------------------------------------------

noticed: list[str] = []


class Careless:
    """BrowseJobs as one would write it who trusts what comes."""

    async def browse_jobs(
        self, request: job_service_pb2.BrowseJobsRequest, call: Call
    ) -> job_service_pb2.BrowseJobsResponse:
        request.flags.filter_created_after.ToDatetime()
        request.flags.filter_created_before.ToDatetime()
        json.loads(base64.urlsafe_b64decode(request.page_token) or b"0")
        return job_service_pb2.BrowseJobsResponse()


@seed(first_seed())
@examples(50)
@given(data=st.data())
async def test_careless_service_is_noticed(data: st.DataObject) -> None:
    tokens = Tokens(MemoryStore(), FakeClock(), SequenceIds())
    host = Host(tokens, SequenceIds())
    host.add(METHODS[BROWSE].containing_service, Careless())
    _, secret = await tokens.create(role=Role.USER, subject="somebody")
    metadata = (("authorization", f"Bearer {secret}"),)
    message = data.draw(SHAPES[BROWSE])
    try:
        await InProcess(host).unary(path_of(BROWSE), message, job_service_pb2.BrowseJobsResponse, metadata)
    except CallFailed as failed:
        noticed.extend(harm(of_status(failed.status)))


async def test_everything_can_be_read_afterwards(house: House, began: float) -> None:
    """No message has left anything behind that somebody else stumbles over: jobs, the log, the projections."""
    request = job_service_pb2.BrowseJobsRequest(page_size=20)
    request.flags.include_updates = True
    while True:
        outcome = await house.call(BROWSE, request.SerializeToString())
        assert outcome.code == "OK", outcome
        page = job_service_pb2.BrowseJobsResponse.FromString(outcome.answers[0])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    outcome = await house.call("AdminService.VerifyLog", b"")
    assert admin_service_pb2.VerifyLogResponse.FromString(outcome.answers[0]).ok
    settle(
        Proof(
            name="random-messages",
            promise="Whatever message comes, an answer says neither UNKNOWN nor INTERNAL nor a word of the inside; "
            "what is refused is not written down; the server goes on, and everything can be read.",
            fault="Messages made from the protos with values at the edges of every type, for every RPC; bytes of "
            "them changed; random conversations of workers.",
            runs=runs,
            faults=runs - accepted,
            acknowledged=accepted,
            violations=violations,
            figures={"RPCs": len(RPCS) + 1},
            control="a BrowseJobs that trusts instants and page tokens as they come",
            bites=bool(noticed),
            seconds=round(time.monotonic() - began, 1),
        )
    )
