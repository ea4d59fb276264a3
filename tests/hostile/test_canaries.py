"""Secrets are where they belong and nowhere else: put everywhere they can be put, then looked for everywhere.

`SHOWN` says which fields may be found in which sink. Everything that is not in it must not be found: not in an error,
not in a log record, not in the metrics, not in what others are shown, and, of what was refused, in no file.
"""

from __future__ import annotations

import asyncio
import sys
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

from tenure.v1 import job_pb2
from tenure.web.app import FILES
from tenure.web.transcoder import Binding, bindings_of
from tests.acceptance.processes import ServerProcess, WorkerProcess
from tests.acceptance.waiting import eventually
from tests.controlplane.webhooks.receiver import Receiver, receiving
from tests.hostile.canaries import Flock, Place, files_below, requests
from tests.hostile.catalogue import (
    BROWSE,
    CONNECT,
    CREATE,
    EVENTS,
    EXTEND,
    FOLLOW,
    HOOKS,
    PAUSE,
    QUEUES,
    RETRIEVE,
    TERMINATE,
    WATCH,
)
from tests.hostile.outcome import Outcome, outcome_of_response
from tests.hostile.scene import METHODS, Wire, caller_of

pytestmark = pytest.mark.processes

CONFIGURATION = """
[webhooks]
allow_http = true
allow_networks = ["127.0.0.0/8"]
ports = "any"
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
    HOOKS: {"items": [{"url": "https://127.0.0.1:9/"}]},
    "AdminService.CreateToken": {"role": 1, "subject": "somebody"},
    "AdminService.StopJobs": {"ids": ["a"], "reason": "x"},
}
ENDLESS = {WATCH, FOLLOW}

# Names, of which people are told: the fields that may be found again where they were not asked for.
SHOWN: dict[str, frozenset[str]] = {
    "errors": frozenset(
        {
            "BackupStoreRequest.path",
            "JobSpecification.environment key",
            "JobSpecification.labels key",
            "JobSpecification.queue",
            "NameAndVersion.name",
            "NameAndVersion.version",
            "PauseQueuesRequest.Item.name",
            "ProductReference.category",
            "ProductReference.id",
            "ProductReference.provider",
        }
    ),
    "log": frozenset({"Goodbye.reason"}),
    "metrics": frozenset({"JobSpecification.queue", "QueueSpecification.name"}),
}


@dataclass
class Swept:
    """What came of all the requests."""

    flock: Flock = field(default_factory=Flock)
    errors: list[str] = field(default_factory=list)
    taken: set[Place] = field(default_factory=set)
    calls: int = 0

    def note(self, message: Message, outcome: Outcome) -> None:
        """An answer; what was not refused may be kept."""
        self.calls += 1
        self.errors.append(outcome.said)
        if not outcome.reason:
            self.taken |= self.flock.found_in(str(message))


async def test_what_is_sent_is_not_told_to_anybody_else(house: House) -> None:
    swept = Swept()
    for rpc in METHODS:
        await _over_grpc(house, swept, rpc)
    for binding in bindings_of(FILES):
        if binding.body and "{" not in binding.path:
            await _over_http(house, swept, binding)
    assert len(swept.flock.places) > 400
    sinks = {
        "errors": "\n".join(swept.errors),
        "log": house.server.output(),
        "metrics": (await house.http.get("/metrics")).text,
    }
    for name, text in sinks.items():
        fields = {place.field for place in swept.flock.found_in(text)}
        assert fields - SHOWN[name] == set(), f"{name}: {sorted(fields - SHOWN[name])}"
    # That they are looked for in the right way is shown by what is found.
    assert "PauseQueuesRequest.Item.name" in {place.field for place in swept.flock.found_in(sinks["errors"])}
    refused = set(swept.flock.places.values()) - swept.taken
    kept: set[Place] = set()
    for _, text in files_below([house.server.data, house.server.home]):
        kept |= swept.flock.found_in(text)
    assert {place.field for place in kept} >= {"JobSpecification.environment", "WebhookSpecification.url"}
    assert kept & refused == set()


async def _over_grpc(house: House, swept: Swept, rpc: str) -> None:
    request_class = GetMessageClass(METHODS[rpc].input_type)
    bases = [None, json_format.ParseDict(GOOD[rpc], request_class())] if rpc in GOOD else [None]
    messages = [message for base in bases for message in requests(swept.flock, rpc, base)]
    if rpc == CONNECT:
        # One after the other: they are all of the same worker.
        for message in messages:
            first = () if message.WhichOneof("message") == "hello" else (HELLO,)
            swept.note(message, await house.wire.call(rpc, *first, message))
        return
    within_s = 0.3 if rpc in ENDLESS else 20.0
    outcomes = await asyncio.gather(*(house.wire.call(rpc, message, within_s=within_s) for message in messages))
    for message, outcome in zip(messages, outcomes, strict=True):
        swept.note(message, outcome)


async def _over_http(house: House, swept: Swept, binding: Binding) -> None:
    rpc = binding.method.removeprefix("/tenure.v1.").replace("/", ".")
    base = json_format.ParseDict(GOOD[rpc], binding.request_class()) if rpc in GOOD else None
    headers = dict(house.wire.metadata(caller_of(rpc)))
    for message in requests(swept.flock, rpc, base):
        body = json_format.MessageToDict(message)
        response = await house.http.request(binding.verb, binding.path, json=body, headers=headers)
        swept.note(message, outcome_of_response(response))


# --- one life of a job, with everything that is secret ----------------------------------------------------------------

# Prints its environment, all of it, and what it was given; some lines further down one word more, and fails. The last
# lines of a command that fails are part of why it failed.
PROGRAM = """
import os, sys
print(dict(os.environ), sys.argv[1])
for line in range(20): print("x" * 100)
print("canary" + "of" + "the" + "last" + "line")
sys.exit(3)
"""

OWNER = {"the owner's answers"}
LOG = {"the log of events", "the database"}
# Where each secret is to be found, and nowhere else.
BELONGS: dict[str, set[str]] = {
    "administrator's token": {"admin.token"},
    "owner's token": set(),
    "worker's token": set(),
    "webhook's secret": set(),
    "webhook's URL": OWNER | LOG | {"the database", "what is announced"},
    "key of the object store": set(),
    "secret key of the object store": set(),
    "environment": OWNER | LOG | {"the output"},
    "argument": OWNER | LOG | {"the output", "what is announced"},
    "parameter": OWNER | LOG | {"the output", "what is announced"},
    "last line of a command that fails": OWNER | LOG | {"the output", "what is announced"},
}


async def test_secrets_of_a_life_are_where_they_belong(house: House, tmp_path: Path) -> None:
    async with receiving() as receiver:
        secrets, sinks = await _live(house, receiver, tmp_path)
    found = {name: {sink for sink, text in sinks.items() if word in text} for name, word in secrets.items()}
    assert found == BELONGS


async def _live(house: House, receiver: Receiver, tmp_path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """A job that fails, one whose object store is out of reach, and what was seen of both; then the secrets."""
    wire = house.wire
    secrets = {
        "administrator's token": wire.tokens["admin"],
        "owner's token": wire.tokens["owner"],
        "worker's token": wire.tokens["worker"],
        "webhook's URL": "canaryoftheurl",
        "key of the object store": "CANARYACCESSKEY",
        "secret key of the object store": "canaryofthestore",
        "environment": "canaryoftheenvironment",
        "argument": "canaryoftheargument",
        "parameter": "canaryoftheparameter",
        "last line of a command that fails": "canaryofthelastline",
    }
    url = f"http://127.0.0.1:{receiver.port}/hook?token=" + secrets["webhook's URL"]
    hook = (await wire.ask(HOOKS, {"items": [{"url": url}]})).responses[0]
    secrets["webhook's secret"] = hook.secret.removeprefix("whsec_")
    worker = _worker(house, tmp_path, secrets)
    try:
        worker.start()
        await worker.says(r"tenure: worker \S+ connected")
        specification = {
            "command": sys.executable,
            "arguments": ["-c", PROGRAM, secrets["argument"]],
            "environment": {"SECRET": secrets["environment"]},
            "parameters": {"x": secrets["parameter"]},
            "queue": QUEUE,
            "max_failures": 1,
            "webhook": url,
        }
        copying = {"bucket": "bucket", "prefix": "a/", "local_path": "a"}
        out_of_reach = {**specification, "sync": {"before": [copying]}, "sync_retry_budget": "0.1s"}
        made = await wire.ask(CREATE, {"items": [{"specification": each} for each in (specification, out_of_reach)]})
        first, second = (each.id for each in made.responses)
        await _until(house, first, "FAILURE")
        await eventually(lambda: _released(house, second), "an attempt that was given back")
        await wire.ask(TERMINATE, {"items": [{"id": second}]})
        output = await wire.call(FOLLOW, {"job_id": first, "snapshot": True})
        await receiver.until(6)
    finally:
        worker.close()
    shown = [await wire.call(RETRIEVE, {"id": job_id, "flags": EVERYTHING}) for job_id in (first, second)]
    shown += [await wire.call(rpc, b"") for rpc in (BROWSE, *LISTS)]
    others = [await wire.call(rpc, b"", who="stranger") for rpc in (BROWSE, *LISTS)]
    others += [await wire.call(rpc, b"") for rpc in ("AdminService.BrowseTokens", "WorkerService.BrowseWorkers")]
    others.append(await wire.call("JobService.ExplainJob", {"id": second}))
    log = await wire.call(EVENTS, b"")
    files = dict(files_below([house.server.data]))
    database = {path for path in files if path.name.startswith("tenure.db")}
    return secrets, {
        "the owner's answers": _text(*shown),
        "the output": _text(output),
        "the answers to others": _text(*others),
        "the log of events": _text(log),
        "the database": "".join(files[path] for path in database),
        "admin.token": next(text for path, text in files.items() if path.name == "admin.token"),
        "other files of the server": "".join(
            text for path, text in files.items() if path not in database and path.name != "admin.token"
        ),
        "the log of the server": house.server.output(),
        "the log of the worker": worker.output(),
        "files of the worker": "".join(text for _, text in files_below([worker.work_dir])),
        "the metrics": (await house.http.get("/metrics")).text,
        "what is announced": "".join(seen.body.decode() + str(seen.headers) for seen in receiver.seen),
    }


QUEUE = "canaries"
EVERYTHING = {"include_application": True, "include_product": True, "include_others": True, "include_support": True}
LISTS = ("WebhookService.BrowseWebhooks", "WebhookService.BrowseDeliveries", "QueueService.BrowseQueues")


def _text(*outcomes: Outcome) -> str:
    return "".join(answer.decode("latin-1") for outcome in outcomes for answer in outcome.answers)


def _worker(house: House, tmp_path: Path, secrets: dict[str, str]) -> WorkerProcess:
    # It takes its token from the environment, as its job would if it could.
    environment = {
        "TENURE_TOKEN": secrets["worker's token"],
        "AWS_ACCESS_KEY_ID": secrets["key of the object store"],
        "AWS_SECRET_ACCESS_KEY": secrets["secret key of the object store"],
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_REGION": "nowhere",
    }
    more = ("--log-level", "debug")
    return WorkerProcess("canaries", tmp_path, house.server, queue=QUEUE, env=environment, more=more)


async def _until(house: House, job_id: str, state: str) -> None:
    async def reached() -> bool:
        job = (await house.wire.ask(RETRIEVE, {"id": job_id})).job
        return job_pb2.JobState.Name(job.status.state) == f"JOB_STATE_{state}"

    await eventually(reached, state)


async def _released(house: House, job_id: str) -> bool:
    return bool((await house.wire.ask(RETRIEVE, {"id": job_id})).job.status.num_interruptions)
