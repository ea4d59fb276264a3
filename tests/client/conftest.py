"""A scripted server for the whole session, forgotten between tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.client.scripted import ScriptedServer, serving


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[ScriptedServer]:
    async with serving(ScriptedServer()) as script:
        yield script


@pytest.fixture
def server(running: ScriptedServer) -> Iterator[ScriptedServer]:
    running.forget()
    yield running
    running.forget()
