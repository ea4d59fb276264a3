"""A client in Node, with nothing but the protos: the first seed's flow, and a worker's stream.

Only where it is asked for: it installs packages. `TENURE_NODE=1` runs it where it can be run, `TENURE_NODE=required`
fails where it cannot.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tenure.v1 import admin_service_pb2, admin_service_pb2_grpc
from tests.acceptance.callers import Caller
from tests.acceptance.processes import ServerProcess
from tests.acceptance.stories import WAITING
from tests.proof.record import ROOT

# npm, the server and the client may each take as long as they are waited for.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
CACHE = ROOT / "build" / "node"
ASKED = os.environ.get("TENURE_NODE", "")
INSTALL_S, RUN_S = 100.0, 60.0
HOUR_S = 3600


def missing(what: str) -> NoReturn:
    """Skip, or fail where the test is required."""
    if ASKED == "required":
        pytest.fail(what)
    pytest.skip(what)


def installed() -> Path:
    """The folder with the packages, as `tests/node/package.json` wants them; installed when they are not."""
    if not ASKED:
        pytest.skip("the Node client is only tested where TENURE_NODE=1 asks for it: `make node`")
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            missing(f"there is no {program} on this machine: install Node.js 20 or later")
    wanted = (HERE / "package.json").read_bytes()
    made_from = CACHE / "installed.json"
    if not made_from.exists() or made_from.read_bytes() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_bytes(wanted)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            missing(f"npm did not install the packages within {INSTALL_S:.0f} s")
        if done.returncode != 0:
            missing(f"npm cannot install the packages of tests/node/package.json (exit code {done.returncode})")
        made_from.write_bytes(wanted)
    return CACHE / "node_modules"


async def token(admin: Caller, role: admin_service_pb2.Role.ValueType, subject: str) -> str:
    stub = admin_service_pb2_grpc.AdminServiceStub(admin.channel)
    request = admin_service_pb2.CreateTokenRequest(role=role, subject=subject)
    return (await stub.CreateToken(request, metadata=admin.metadata, timeout=30)).secret


async def run_client(directory: Path, modules: Path) -> dict[str, Any]:
    """Start a server, let the client do its work against it; what it has seen."""
    server = ServerProcess(directory)
    try:
        await server.up()
        admin = Caller(server.address, server.admin_token())
        try:
            environment = {
                "PATH": os.environ["PATH"],
                "NODE_PATH": str(modules),
                "TENURE_ADDRESS": server.address,
                "TENURE_QUEUE": "default",
                "TENURE_USER_TOKEN": await token(admin, admin_service_pb2.ROLE_USER, "user"),
                "TENURE_WORKER_TOKEN": await token(admin, admin_service_pb2.ROLE_WORKER, "node"),
            }
        finally:
            await admin.close()
        done = await asyncio.to_thread(
            subprocess.run,
            ["node", str(HERE / "client.cjs")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=RUN_S,
        )
        assert done.returncode == 0, done.stderr + server.tail()
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen
    finally:
        server.close()


async def test_a_node_client_does_the_first_seeds_flow_and_holds_a_workers_stream(tmp_path: Path) -> None:
    modules = await asyncio.to_thread(installed)
    seen = await run_client(tmp_path, modules)

    created, running, terminated = seen["created"], seen["running"], seen["terminated"]
    assert seen["repeated"]
    assert (created["status"]["state"], created["status"]["outcome"]) == (
        "JOB_STATE_IN_QUEUE",
        "JOB_OUTCOME_UNSPECIFIED",
    )
    assert [(one["state"], one["status"]) for one in created["updates"]] == [("JOB_STATE_IN_QUEUE", WAITING)]
    assert created["owner"]["createdBy"] == "user"
    assert created["specification"]["application"] == {"name": "acme-web-application", "version": "1.0.0"}
    assert created["specification"]["timeAllocation"] == {"seconds": "18000", "nanos": 0}

    assert (running["status"]["state"], running["status"]["machineId"]) == ("JOB_STATE_RUNNING", "node-worker")
    # Exactly five hours after it was created: seconds of 64 bits arrive as text, and nothing is rounded.
    born, ends = running["createdAt"], running["status"]["expiresAt"]
    assert (int(ends["seconds"]) - int(born["seconds"]), ends["nanos"]) == (5 * HOUR_S, born["nanos"])
    (extended,) = seen["extended"]["responses"]
    assert int(extended["expiresAt"]["seconds"]) - int(ends["seconds"]) == HOUR_S
    assert seen["moved"]["items"][0]["expiresAt"] == extended["expiresAt"]

    assert (terminated["status"]["state"], terminated["status"]["outcome"]) == (
        "JOB_STATE_SUCCESS",
        "JOB_OUTCOME_CANCELLED",
    )
    assert terminated["status"]["expiresAt"] is None
    assert [one["status"] for one in terminated["updates"]] == [
        WAITING,
        "Your job is now running!",
        "Your job has been cancelled!",
    ]
    assert terminated["specification"]["timeAllocation"] == {"seconds": "18000", "nanos": 0}
    assert (seen["final"]["code"], seen["final"]["reason"]) == ("FAILED_PRECONDITION", "JOB_FINAL")

    attempt = seen["attempt"]
    assert (attempt["assignment"]["attempt"], attempt["accepted"]["state"]) == (1, "LEASE_STATE_HELD")
    assert (attempt["started"]["kind"], attempt["started"]["state"]) == ("REPORT_KIND_STARTED", "LEASE_STATE_HELD")
    assert attempt["beat"]["state"] == "LEASE_STATE_HELD"
    assert int(attempt["beat"]["nextInterval"]["seconds"]) > 0
    assert seen["stop"]["items"][0]["reason"] == "STOP_REASON_LEASE_REVOKED"
    assert seen["stopped"]["items"][0]["kind"] == "REPORT_KIND_STOPPED"
    assert seen["succeeded"]["items"][0]["kind"] == "REPORT_KIND_SUCCEEDED"
    completed = seen["completed"]["status"]
    assert (completed["outcome"], completed["numHeartbeats"]) == ("JOB_OUTCOME_COMPLETED", "2")
    assert seen["messages"][0] == "welcome"
    assert set(seen["welcome"]["queues"]) == {"default", "example-compute"}
    assert seen["status"] == "OK"

    assert (seen["unknown"]["code"], seen["unknown"]["reason"]) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert (seen["anonymous"]["code"], seen["anonymous"]["reason"]) == ("UNAUTHENTICATED", "CREDENTIALS_MISSING")
    assert {seen[name]["domain"] for name in ("final", "unknown", "anonymous")} == {"tenure"}


def test_the_document_shows_what_is_tested() -> None:
    shown = re.findall(r"^```js\n(.*?)^```", (ROOT / "docs" / "clients.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    tested = "\n".join((HERE / name).read_text() for name in ("tenure.cjs", "client.cjs"))
    for block in shown:
        for piece in block.strip().split("\n\n"):
            assert piece in tested, f"docs/clients.md shows what tests/node does not have:\n{piece}"
