"""A scripted server for the whole session, forgotten between tests, and an asyncio client of it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator

import pytest

from tenure.client import Client
from tests.client.scripted import CountingIds, FakeClock, ScriptedServer, serving


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[ScriptedServer]:
    async with serving(ScriptedServer()) as script:
        yield script


@pytest.fixture
def server(running: ScriptedServer) -> Iterator[ScriptedServer]:
    running.forget()
    yield running
    running.forget()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def client(server: ScriptedServer, clock: FakeClock) -> AsyncIterator[Client]:
    async with Client(server.address, token="secret", clock=clock, ids=CountingIds(), jitter=random.Random(1)) as made:
        yield made
