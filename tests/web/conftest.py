"""Worlds with a web door."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.acceptance.seed2_story import SUBMITTED_MS
from tests.web.doors import WebWorld, open_web_world


@pytest.fixture
async def world() -> AsyncIterator[WebWorld]:
    """A world at the first seed's instant."""
    async with open_web_world() as opened:
        yield opened


@pytest.fixture
async def world2024() -> AsyncIterator[WebWorld]:
    """A world at the instant at which the second seed's job was submitted."""
    async with open_web_world(wall_ms=SUBMITTED_MS) as opened:
        yield opened


@pytest.fixture(scope="module")
async def shared_world() -> AsyncIterator[WebWorld]:
    """A world for tests that change nothing in it."""
    async with open_web_world() as opened:
        yield opened
