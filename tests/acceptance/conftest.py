"""Worlds: on the memory store, on SQLite, or on both. And a fleet of real processes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.faulty_store import faulty_store
from tests.acceptance.fleet import BUCKET, Fleet
from tests.acceptance.processes import ServerProcess
from tests.acceptance.seed2_story import opened_2024
from tests.acceptance.world import World, open_world
from tests.servers.seaweedfs import SeaweedFS, seaweedfs

__all__ = ["seaweedfs"]


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


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A real server on SQLite, shared by the tests of this process."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    try:
        await process.up()
        yield process
    finally:
        process.close()


@pytest.fixture
async def fleet(
    request: pytest.FixtureRequest, tmp_path: Path, server: ServerProcess, seaweedfs: SeaweedFS
) -> AsyncIterator[Fleet]:
    """The shared server and object store, with a queue and a prefix for this test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_scenario_").lower()).strip("-")[:40]
    seaweedfs.create_bucket(BUCKET)
    with faulty_store(seaweedfs.endpoint_url) as faulty:
        opened = Fleet(name, tmp_path, server, seaweedfs, faulty)
        try:
            yield opened
        finally:
            faulty.heal()
            await opened.close()
