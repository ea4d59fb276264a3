"""A client in another language, from the protos alone: the first seed's flow, and a worker's stream, from Node.

Skipped unless Node's packages are there or `TENURE_NODE=required` says that they are to be installed (`make node`):
they come from the network.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import ServerProcess, environment, run_tenure
from tests.acceptance.stories import CANCELLED, RUNNING, WAITING

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Outside the sources, so that nothing of it is committed.
INSTALLED = ROOT / "build" / "node"
REQUIRED = os.environ.get("TENURE_NODE") == "required"
HOUR_MS = 3_600_000
INSTALL_S = 300


def _prepared() -> Path:
    """A folder with the client and what it needs; skips where there is none and none is wanted."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        if REQUIRED:
            pytest.fail("there is no Node here, or no npm")
        pytest.skip("there is no Node here, or no npm")
    wanted = (HERE / "package.json").read_text()
    installed = INSTALLED / "package.json"
    if not (INSTALLED / "node_modules").is_dir() or not installed.exists() or installed.read_text() != wanted:
        if not REQUIRED:
            pytest.skip("Node's packages are not installed: `make node` installs them and runs this")
        _install()
    for name in ("tenure.cjs", "story.cjs"):
        shutil.copy(HERE / name, INSTALLED)
    return INSTALLED


def _install() -> None:
    INSTALLED.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", INSTALLED)
    done = subprocess.run(
        ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"],
        cwd=INSTALLED,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
    )
    assert done.returncode == 0, done.stderr


def _token(server: ServerProcess, role: str, subject: str) -> str:
    made = run_tenure(
        "token", "create", "--role", role, "--subject", subject, "--server", server.address,
        "--token-file", str(server.token_file), env=server.env,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def _story(folder: Path, server: ServerProcess, home: Path) -> dict[str, dict[str, Any]]:
    """What the client in Node saw, by its name."""
    told = subprocess.run(
        ["node", "story.cjs", server.address],
        cwd=folder,
        env=environment(home)
        | {
            "TENURE_ROOT": str(ROOT),
            "TENURE_USER_TOKEN": _token(server, "user", "user"),
            "TENURE_WORKER_TOKEN": _token(server, "worker", "node"),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stdout + told.stderr + server.tail()
    seen = {}
    for line in told.stdout.splitlines():
        one = json.loads(line)
        seen[one.pop("what")] = one
    return seen


@pytest.mark.timeout(INSTALL_S + 120)
async def test_a_job_from_both_sides(tmp_path: Path) -> None:
    folder = _prepared()
    server = ServerProcess(tmp_path)
    try:
        await server.up()
        seen = await asyncio.to_thread(_story, folder, server, tmp_path / "home")
    finally:
        server.close()
    job_id = seen["created"]["id"]
    assert seen["created"] == {
        "id": job_id,
        "again": job_id,
        "state": "JOB_STATE_IN_QUEUE",
        "allocation": "18000",
        "expires": 5 * HOUR_MS,
        "updates": [WAITING],
    }
    assert seen["assigned"] == {"session": True, "job": job_id, "attempt": 1, "command": "python3", "lease": "60"}
    assert seen["accepted"] == {"state": "LEASE_STATE_HELD"}
    assert seen["started"] == {"state": "LEASE_STATE_HELD"}
    assert seen["running"] == {
        "beat": "LEASE_STATE_HELD",
        "state": "JOB_STATE_RUNNING",
        "machine": "node-1",
        "beats": "1",
    }
    assert seen["extended"] == {"by": HOUR_MS, "told": True}
    assert seen["terminated"] == {
        "stop": "STOP_REASON_LEASE_REVOKED",
        "report": "REPORT_KIND_STOPPED",
        "state": "JOB_STATE_SUCCESS",
        "outcome": "JOB_OUTCOME_CANCELLED",
        "expires": None,
        "updates": [WAITING, RUNNING, CANCELLED],
    }
    refused = seen["refused"]
    assert (refused["code"], refused["reason"], refused["domain"]) == ("FAILED_PRECONDITION", "JOB_FINAL", "tenure")
    assert seen["completed"] == {"same": True, "state": "LEASE_STATE_HELD", "outcome": "JOB_OUTCOME_COMPLETED"}
    assert seen["goodbye"] == {"status": "OK"}
