"""Random messages for every RPC, and random conversations of workers: whatever comes, the server answers as it should.

The calls take the way of every call but the socket. Its clock stands still, so that nothing happens but what is asked
for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tenure.controlplane.config import Configuration
from tenure.controlplane.inprocess import InProcess
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.runtime.calls import CallFailed, Metadata
from tenure.runtime.ids import Uuid7Ids
from tenure.v1 import job_service_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.controlplane.harness import RunningServer, running_server
from tests.controlplane.webhooks.rig import LOOSE
from tests.fakes import FakeClock
from tests.hostile.catalogue import BROWSE, CONNECT, CREATE, RETRIEVE
from tests.hostile.judge import harm
from tests.hostile.outcome import Outcome, of_status
from tests.hostile.random_messages import messages, mutated, with_lease
from tests.hostile.scene import METHODS, NOBODY, STANDING, caller_of, path_of, raw_of
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, first_seed, size

SHAPED, BROKEN, CONVERSATIONS = size(short=8, full=2500), size(short=5, full=1000), size(short=25, full=5000)
# What answers with a stream has no end, if all is well.
WAIT_S = 0.01
ANSWERED_S = 10.0

RPCS = sorted(rpc for rpc in METHODS if not METHODS[rpc].client_streaming)
STREAMS = sorted(METHODS.keys() - set(RPCS))

runs = 0
accepted = 0
violations: list[str] = []
began = time.monotonic()


def examples(count: int) -> settings:
    """So many; in the long form others than always."""
    return settings(
        max_examples=count, deadline=None, derandomize=not FULL, database=None, suppress_health_check=list(HealthCheck)
    )


class Raw:
    """Bytes in the place of a message."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages call it
        return self._raw


@dataclass
class House:
    """A server, called from within its process."""

    server: RunningServer
    channel: InProcess
    clock: FakeClock
    tokens: dict[str, str]

    @property
    def position(self) -> int:
        return self.server.plane.store.head().position

    def metadata(self, rpc: str) -> Metadata:
        return (("authorization", f"Bearer {self.tokens[caller_of(rpc)]}"),)

    async def call(self, rpc: str, raw: bytes) -> Outcome:
        """One request, and the first of what is answered."""
        response = GetMessageClass(METHODS[rpc].output_type)
        request = cast(Message, Raw(raw))
        try:
            if not METHODS[rpc].server_streaming:
                answer = await self.channel.unary(path_of(rpc), request, response, self.metadata(rpc))
                return Outcome(code="OK", answers=(answer.SerializeToString(),))
            stream = self.channel.stream(path_of(rpc), _once(request), response, self.metadata(rpc))
            async with aclosing(stream) as answers:
                async with asyncio.timeout(WAIT_S):
                    for _ in range(5):
                        await anext(answers)
        except CallFailed as failed:
            return of_status(failed.status)
        except (TimeoutError, StopAsyncIteration):
            pass
        return Outcome(code="OK")

    async def is_well(self) -> bool:
        """The next good call works, and the store goes on."""
        outcome = await self.call(RETRIEVE, raw_of(RETRIEVE, {"id": STANDING}))
        return outcome.code == "OK" and not self.server.fatal


async def _once(request: Message) -> AsyncIterator[Message]:
    yield request


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    directory: Path = tmp_path_factory.mktemp("random") / "data"
    clock = FakeClock(rounds=3)
    configuration = Configuration(webhooks=WebhookSettings(targets=LOOSE))
    async with running_server(f"sqlite://{directory}", clock=clock, configuration=configuration) as server:
        tokens = {
            "owner": await server.token("user", "owner"),
            "worker": await server.token("worker", "machines"),
            "admin": server.admin_secret,
        }
        yield House(server, InProcess(server.plane.host), clock, tokens)


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


@pytest.mark.parametrize("rpc", RPCS)
async def test_messages_of_the_right_shape(house: House, rpc: str) -> None:
    @seed(first_seed())
    @examples(SHAPED)
    @given(messages(METHODS[rpc].input_type))
    async def look(message: Message) -> None:
        await look_at(house, rpc, message.SerializeToString())

    await _run(look)
