"""Worlds: on the memory store, on SQLite, or on both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.seed2_story import opened_2024
from tests.acceptance.world import World, open_world


def _url(kind: str, tmp_path: Path) -> str:
    return "memory:" if kind == "memory" else f"sqlite://{tmp_path / 'data'}"


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world at T0, on each store."""
    async with open_world(_url(request.param, tmp_path)) as opened:
        yield opened


@pytest.fixture
async def lasting_world(tmp_path: Path) -> AsyncIterator[World]:
    """A world at T0 whose server can be stopped and started again."""
    async with open_world(_url("sqlite", tmp_path)) as opened:
        yield opened


@pytest.fixture
async def memory_world() -> AsyncIterator[World]:
    """A world at T0 on the memory store."""
    async with open_world("memory:") as opened:
        yield opened


@pytest.fixture(params=["memory", "sqlite"])
async def world2024(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world at 2024-10-20T14:08:33Z, when the second seed's job was submitted, on each store."""
    async with opened_2024(_url(request.param, tmp_path)) as opened:
        yield opened
