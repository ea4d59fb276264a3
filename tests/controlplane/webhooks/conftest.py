"""What the tests of webhooks share: somebody who is called."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.controlplane.webhooks.receiver import Receiver, receiving


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made
