"""The first seed's six curl commands, run as they are printed by the real curl, against its clock and id."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stories import STARTED_MS, TERMINATED_MS
from tests.web.doors import PATIENCE_S, WebWorld

SCRIPT = Path(__file__).parent.parent / "data" / "ucloud-curl.txt"
RESPONSES = "# {"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


def calls() -> list[tuple[str, Any]]:
    """The commands in order, each with the answer that is printed below it."""
    found: list[tuple[str, Any]] = []
    command: list[str] = []
    answer: list[str] = []

    def finish() -> None:
        if command:
            found.append(("\n".join(command), json.loads("\n".join(answer)) if answer else None))

    for line in [*SCRIPT.read_text().splitlines(), "curl"]:
        if line.startswith("curl"):
            finish()
            command, answer = [line], []
        elif line.startswith("#"):
            text = line[1:].strip()
            if answer or text.startswith("{"):
                answer.append(line[1:])
            if text.startswith("}") and not line.startswith("#  "):
                # The end of the printed answer; prose may follow.
                finish()
                command, answer = [], []
        elif command and not answer and line.strip():
            command.append(line)
    return found


async def run(command: str, world: WebWorld, token: str) -> Any:
    """What the command prints, as JSON."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"host": world.url, "accessToken": token, "PATH": "/usr/local/bin:/usr/bin:/bin", "no_proxy": "*"},
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def printed(job: Any) -> Any:
    """The job as the seed prints it: it leaves out when the job was started, and we do not."""
    job["status"]["startedAt"] = None
    return job


async def test_the_six_commands(world: WebWorld) -> None:
    create, retrieve, extend, retrieve_again, terminate, retrieve_last = calls()
    token = await world.server.token("user", "user")
    world.ids.then("62348")
    assert await run(create[0], world, token) == create[1] == {"responses": [{"id": "62348"}]}

    worker = await world.worker("w1")
    assignment = await worker.take()
    await world.until(STARTED_MS)
    await worker.start(assignment)
    job = await run(retrieve[0], world, token)
    assert job["status"]["startedAt"] == STARTED_MS
    assert printed(job) == retrieve[1]
    assert job["status"]["expiresAt"] == 1633347776235

    assert await run(extend[0], world, token) == extend[1] == {"responses": [{}]}
    job = await run(retrieve_again[0], world, token)
    assert printed(job) == retrieve_again[1]
    assert job["status"]["expiresAt"] == 1633351376235

    await world.until(TERMINATED_MS)
    assert await run(terminate[0], world, token) == terminate[1] == {"responses": [{}]}
    job = await run(retrieve_last[0], world, token)
    assert printed(job) == retrieve_last[1]
    assert [update["state"] for update in job["updates"]] == ["IN_QUEUE", "RUNNING", "SUCCESS"]


async def test_keys_come_in_the_order_of_the_seed(world: WebWorld) -> None:
    create, retrieve, *_ = calls()
    token = await world.server.token("user", "user")
    world.ids.then("62348")
    await run(create[0], world, token)
    job = await run(retrieve[0], world, token)
    assert list(job) == list(retrieve[1])
    for name in ("specification", "status", "owner"):
        assert list(job[name]) == list(retrieve[1][name])
    assert list(job["updates"][0]) == list(retrieve[1]["updates"][0])
