"""Runs commands in a thread against a scripted server, as somebody without any settings of their own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tenure.cli.main import app
from tenure.client import RetryPolicy, sync_client
from tests.client.scripted import ScriptedServer, serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Tenure = Callable[..., Awaitable[Ran]]


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[ScriptedServer]:
    async with serving(ScriptedServer()) as script:
        yield script


@pytest.fixture
def server(running: ScriptedServer) -> Iterator[ScriptedServer]:
    running.forget()
    yield running
    running.forget()


@pytest.fixture(autouse=True)
def nobodys_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours, a state folder of its own, and retries that do not take long."""
    monkeypatch.setattr(sync_client, "RetryPolicy", lambda: RetryPolicy(initial_s=0.001, maximum_s=0.002))
    for name in [each for each in os.environ if each.startswith("TENURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def tenure(server: ScriptedServer) -> Tenure:
    """Runs `tenure --server <the scripted one> …`; unless the arguments name another."""

    async def run(*args: str, stdin: str | bytes | None = None, address: str | None = None) -> Ran:
        whole = ["--server", address or server.address, *args]
        result = await asyncio.wait_for(
            asyncio.to_thread(CliRunner().invoke, app, whole, input=stdin, prog_name="tenure"), timeout=30
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(code=result.exit_code, out=result.stdout, err=result.stderr)

    return run
