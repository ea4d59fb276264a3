"""Secrets are where they belong and nowhere else: put everywhere they can be put, then looked for everywhere.

`SHOWN` says which fields may be found in which sink. Everything that is not in it must not be found: not in an error,
not in a log record, not in the metrics, not in what others are shown, and, of what was refused, in no file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.acceptance.processes import ServerProcess
from tests.hostile.canaries import Flock, Place, files_below, requests
from tests.hostile.catalogue import BROWSE, CONNECT, CREATE, EXTEND, FOLLOW, HOOKS, PAUSE, QUEUES, TERMINATE, WATCH
from tests.hostile.scene import METHODS, Outcome, Wire

pytestmark = pytest.mark.processes

CONFIGURATION = """
[webhooks]
allow_http = true
allow_networks = ["127.0.0.0/8"]
"""


@dataclass
class House:
    """A server process, and everybody's tokens."""

    server: ServerProcess
    wire: Wire
    http: httpx.AsyncClient


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    directory = tmp_path_factory.mktemp("canaries")
    config = directory / "tenure.toml"
    config.write_text(CONFIGURATION)
    more = ("--http", "127.0.0.1:0", "--config", str(config), "--log-level", "debug")
    server = ServerProcess(directory, more=more)
    try:
        await server.up()
        url = (await server.says(r"tenure: http on (\S+)"))[1]
        async with (
            grpc.aio.insecure_channel(server.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel,
            httpx.AsyncClient(base_url=f"http://{url}", timeout=20, trust_env=False) as http,
        ):
            wire = Wire(channel, {"admin": server.admin_token()})
            for name, role in (("owner", 1), ("stranger", 1), ("worker", 2)):
                made = await wire.ask("AdminService.CreateToken", {"role": role, "subject": name})
                wire.tokens[name] = made.secret
            yield House(server, wire, http)
    finally:
        server.close()


# --- every text of every request --------------------------------------------------------------------------------------

JOB = {"items": [{"specification": {"command": "true", "queue": "still"}}]}
HELLO = {"hello": {"worker_id": "sweeper", "incarnation": "i", "protocol_version": 1, "queues": ["nobody-here"]}}
# Good requests, so that a word in one of their fields comes further than the rules of the message.
GOOD: dict[str, dict[str, Any]] = {
    CREATE: JOB,
    EXTEND: {"items": [{"job_id": "a", "requested_time": "1s"}]},
    TERMINATE: {"items": [{"id": "a"}]},
    QUEUES: {"items": [{"name": "still"}]},
    PAUSE: {"items": [{"name": "still"}]},
    HOOKS: {"items": [{"url": "https://example.org/"}]},
    "AdminService.CreateToken": {"role": 1, "subject": "somebody"},
    "AdminService.StopJobs": {"ids": ["a"], "reason": "x"},
}
ENDLESS = {WATCH, FOLLOW}

SHOWN: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "log": frozenset(),
    "metrics": frozenset(),
}


@dataclass
class Found:
    """What came of the sweep."""

    flock: Flock = field(default_factory=Flock)
    errors: list[str] = field(default_factory=list)
    taken: set[Place] = field(default_factory=set)
    calls: int = 0

    def note(self, message: Message, outcome: Outcome) -> None:
        """An answer; what was not refused may be kept."""
        self.calls += 1
        self.errors.append(outcome.said)
        if outcome.code in ("OK", "DEADLINE_EXCEEDED"):
            self.taken |= self.flock.found_in(str(message))


async def _sweep(house: House) -> Found:
    found = Found()
    for rpc in METHODS:
        request_class = GetMessageClass(METHODS[rpc].input_type)
        bases = [None, json_format.ParseDict(GOOD[rpc], request_class())] if rpc in GOOD else [None]
        messages = [message for base in bases for message in requests(found.flock, rpc, base)]
        if rpc == CONNECT:
            for message in messages:
                first = () if message.WhichOneof("message") == "hello" else (HELLO,)
                found.note(message, await house.wire.call(rpc, *first, message))
            continue
        within_s = 0.3 if rpc in ENDLESS else 20.0
        outcomes = await asyncio.gather(*(house.wire.call(rpc, message, within_s=within_s) for message in messages))
        for message, outcome in zip(messages, outcomes, strict=True):
            found.note(message, outcome)
    return found


async def test_sweep(house: House) -> None:
    began = time.monotonic()
    found = await _sweep(house)
    print("calls", found.calls, time.monotonic() - began)
    sinks = {
        "errors": "\n".join(found.errors),
        "log": house.server.output(),
        "metrics": (await house.http.get("/metrics")).text,
    }
    for name, text in sinks.items():
        print(name, sorted({(p.rpc, p.field, p.good) for p in found.flock.found_in(text)}))
    refused = set(found.flock.places.values()) - found.taken
    for path, text in files_below([house.server.data, house.server.home]):
        print(path.name, sorted({(p.rpc, p.field, p.good) for p in found.flock.found_in(text) & refused}))
