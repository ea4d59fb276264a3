"""The catalogue of bad input: each case sent to a real server, and the one right answer to it.

Whatever comes in: the right code and reason, no event, never UNKNOWN or INTERNAL, no word of the inside, and the next
good call works.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.hostile.catalogue import CODES, INVALID, RETRIEVE, Case, bad, call
from tests.hostile.catalogue_rows import CASES, ELSEWHERE, NOT_OURS, ROWS
from tests.hostile.judge import found_wrong
from tests.hostile.outcome import Outcome, outcome_of
from tests.hostile.scene import Scene, open_scene
from tests.proof.record import Proof, settle

ROOT = Path(__file__).parents[2]

done: list[str] = []
violations: list[str] = []
reasons: Counter[str] = Counter()


@pytest.fixture(scope="module")
def began() -> float:
    """When the first of these was run, in seconds of the monotonic clock."""
    return time.monotonic()


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, began: float) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path_factory.mktemp("bad-input") / "data") as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_bad_input(scene: Scene, case: Case) -> None:
    scene.mark()
    outcome = await case.send(scene)
    wrong = found_wrong(case, outcome, written=scene.written, well=await scene.is_well())
    done.append(case.id)
    reasons[outcome.reason] += 1
    violations.extend(f"{case.id}: {each}" for each in wrong)
    assert not wrong


async def test_proof(began: float) -> None:
    assert done, "run the cases with it"
    bites = await _careless_server_is_noticed()
    settle(
        Proof(
            name="bad-input",
            promise="Whatever comes in gets the right code and reason and no word of the inside; nothing is written, "
            "and the next call works.",
            fault="The catalogue of bad input, one case after the other, to a real server over gRPC and HTTP.",
            runs=len(done),
            faults=len(done),
            acknowledged=0,
            violations=violations,
            figures={
                "rows of the catalogue with cases": len({name[:2] for name in done}),
                "rows tried elsewhere": len(ELSEWHERE),
                "reasons that were provoked": len(reasons.keys() - {""}),
            },
            control="a server as gRPC makes it, whose handler lets its exceptions out and does not know a malformed "
            "message",
            bites=bites,
            seconds=round(time.monotonic() - began, 1),
        )
    )


async def _careless_server_is_noticed() -> bool:
    """Whether the judge holds against a usual server what it does wrong."""

    async def retrieve(request: bytes, _context: object) -> bytes:
        raise ValueError(f"no job {request!r} in postgresql://root:canary@db")

    def decode(raw: bytes) -> bytes:
        raise ValueError("Error parsing message")

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods: dict[str, Any] = {
        "RetrieveJob": grpc.unary_unary_rpc_method_handler(retrieve),
        "CreateJobs": grpc.unary_unary_rpc_method_handler(retrieve, request_deserializer=decode),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tenure.v1.JobService", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found: list[str] = []
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for name in methods:
                retrieved: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
                retrieved = channel.unary_unary(f"/tenure.v1.JobService/{name}")
                try:
                    await retrieved(b"\xff", timeout=20)
                except grpc.aio.AioRpcError as error:
                    case = bad(1, name, RETRIEVE, b"", reason="MALFORMED_REQUEST")
                    found += found_wrong(case, outcome_of(error), written=1, well=False)
    finally:
        await server.stop(0)
    return all(
        any(sign in each for each in found)
        for sign in ("answered UNKNOWN", "tells of the inside", "repeats a secret", "written down", "next good call")
    )


# --- the catalogue itself ---------------------------------------------------------------------------------------------


def test_every_row_is_accounted_for() -> None:
    assert list(ROWS) == list(range(1, 86))
    tried = {case.row for case in CASES}
    assert tried | set(ELSEWHERE) | set(NOT_OURS) == set(ROWS)
    assert not tried & set(NOT_OURS)
    assert not set(ELSEWHERE) & set(NOT_OURS)


def test_every_case_has_a_name_of_its_own() -> None:
    assert [name for name, count in Counter(case.id for case in CASES).items() if count > 1] == []


def test_the_tests_elsewhere_are_there() -> None:
    missing = []
    for reference in {each for row in ELSEWHERE.values() for each in row}:
        path, _, name = reference.partition("::")
        if re.search(rf"^ *(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE) is None:
            missing.append(reference)
    assert missing == []


# Reasons that no input alone provokes, and what does.
WITHOUT_INPUT = {
    "RESUME_TOKEN_TOO_OLD": "never: no event is dropped from the front of the log",
    "LOG_REGRESSED": "a log that has lost its tail: tests/controlplane/test_resume.py",
    "SLOW_CONSUMER": "a peer that does not read: tests/controlplane/test_streams.py",
    "WORKER_UNREACHABLE": "a worker that does not answer: tests/controlplane/test_logs.py",
    "VERSION_CONFLICT": "five lost races: tests/controlplane/test_unary.py",
    "COMMIT_OUTCOME_UNKNOWN": "an error of the disk: tests/store/test_sqlite_writer.py",
    "STORAGE_FULL": "a full disk: tests/store/test_sqlite_writer.py",
    "STORAGE_READ_ONLY": "a disk that can only be read: tests/store/test_sqlite_writer.py",
    "DRAINING": "a server that stops: tests/controlplane/test_unary.py",
    "INTERNAL": "a defect: tests/controlplane/test_unary.py",
    "JOB_STOPPING": "a job that is being cancelled: tests/domain/test_decide_extend.py",
    "QUEUE_READ_ONLY": "a queue of the configuration file: tests/controlplane/test_queue_service.py",
}


def test_every_reason_is_provoked_or_cannot_be() -> None:
    provoked = {case.reason for case in CASES} - {""}
    assert provoked | set(WITHOUT_INPUT) == set(CODES)
    assert not provoked & set(WITHOUT_INPUT)


def test_the_judge_sees_what_is_wrong() -> None:
    case = bad(1, "a", RETRIEVE, b"", "id")
    fine = Outcome(code="INVALID_ARGUMENT", reason=INVALID, fields=("id",), infos=1, domains=("tenure",), said="id: x")
    assert found_wrong(case, fine, written=0, well=True) == []
    other = Case(row=1, name="b", send=call(RETRIEVE, b""), reason=INVALID, open=True, http=400)
    assert len(found_wrong(other, fine, written=1, well=False)) == 4
    broken = Outcome(code="INTERNAL", reason="INTERNAL", said="ValueError: canary in x.py", http=500)
    assert len(found_wrong(case, broken, written=0, well=True)) >= 5
