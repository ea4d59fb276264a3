"""The files are damaged: what has changed the log, or dropped a tail that the anchor knows, is noticed, and in words.

Each case takes a fresh copy of what a killed server has left (a database and a write-ahead log, copied back or not
yet), damages it, and asks three judges: a program that reads every table and compares it with what was there before,
the start of a server, and `tenure log verify`. What the first cannot tell from before is harmless, and only that.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import grpc
import grpc.aio
import pytest

from tenure.controlplane.hosting import Host
from tenure.store import sqlite_open
from tenure.store import verify as verify_module
from tenure.store.anchor import Anchor, AnchorMismatch, read_anchor, write_anchor
from tenure.store.offline import head_of_directory, verify_directory
from tenure.store.sqlite_schema import NAME, connect_reader, connect_writer, rows
from tenure.store.store import StoreError
from tenure.v1 import event_service_pb2, job_service_pb2
from tests.acceptance.callers import Caller, Refusal, refusal
from tests.acceptance.mixed_load import MixedLoad, specification
from tests.acceptance.waiting import eventually
from tests.controlplane.harness import running_server
from tests.faults.disk_content import BESIDE, LOG, PROJECTIONS, Content, content_of
from tests.faults.disk_damage import KINDS, NEED_WAL, Scene, old_copy
from tests.faults.disk_server import DiskServer
from tests.proof.record import Proof, settle
from tests.proof.sizes import first_seed, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]

SEEDS = size(short=3, full=100)
# Every so many seeds begin with files of their own.
SAME_FILES = 10
LOAD_S = size(short=100, full=600) / 1000
ENOUGH = 20
FILES = (NAME, f"{NAME}-wal", "anchor.json", "admin.token", "server.key")


@dataclass(frozen=True)
class Files:
    """What a server left, the same with its write-ahead log copied back, and what it had left some time before."""

    now: Path
    copied_back: Path
    older: Path
    content: Content
    anchored: int
    events: list[bytes]
    folds: list[bytes]
    acknowledged: int


@dataclass
class Told:
    """What came of one kind of damage, by what it has changed; and what was noticed of it."""

    changed: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def fast() -> Iterator[Path]:
    """A folder in memory where there is one: what is damaged here on purpose does not have to survive anything else."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
async def first_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files whose anchor knows everything."""
    return await _make_files(tmp_path_factory.mktemp("files"), random.Random(first_seed()), anchored=True)


@pytest.fixture(autouse=True)
def _no_rules_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of messages are compiled when they are first needed: hardly any are, and starts are many."""
    monkeypatch.setattr(Host, "prepare", lambda self: None)


async def test_corruption(tmp_path: Path, fast: Path, first_files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    told = {kind: Told() for kind in KINDS}
    violations: list[str] = []
    files, acknowledged = first_files, first_files.acknowledged
    for seed in range(first_seed(), first_seed() + SEEDS):
        if seed > first_seed() and (seed - first_seed()) % SAME_FILES == 0:
            files = await _make_files(tmp_path / f"files-{seed}", random.Random(seed))
            acknowledged += files.acknowledged
        for kind in KINDS:
            violations += [
                f"seed {seed}, {kind}: {wrong}" for wrong in await _damaged(fast, files, kind, seed, told[kind])
            ]
    unnoticed = await _control(fast, files, monkeypatch)
    settle(
        Proof(
            name="corruption",
            promise="Whatever changes the log, or drops a tail that the anchor knows, is noticed at the start or by "
            "verify, and in words; what changes only rows is noticed by verify.",
            fault="bits, pages and files of a killed server's database, write-ahead log and anchor changed, cut, "
            "swapped, removed and replaced by older ones.",
            runs=SEEDS * len(KINDS),
            faults=SEEDS * len(KINDS),
            acknowledged=acknowledged,
            violations=violations,
            figures={kind: _words(one) for kind, one in told.items()},
            control="without the anchor, an older copy of everything "
            + ("goes unnoticed" if unnoticed else "is noticed all the same"),
            bites=unnoticed,
            seconds=round(time.monotonic() - began, 1),
        )
    )


def _words(told: Told) -> str:
    parts = [
        f"{what} {told.noticed[what]}/{count}" if what in MUST else f"{what} {count}"
        for what, count in sorted(told.changed.items())
    ]
    return ", ".join(parts)


# What of each kind of change has to be noticed.
MUST = {"log", "rows", "pages", "anchor"}


async def _damaged(directory: Path, files: Files, kind: str, seed: int, told: Told) -> list[str]:
    """Damage a copy and judge it; what is wrong with the judgement."""
    generator = random.Random(f"{seed} {kind}")
    copied_back = kind not in NEED_WAL and generator.randrange(3) > 0
    with _copied(files, directory / "case", copied_back=copied_back) as scene:
        KINDS[kind](scene, generator)
        with _copied_as_is(scene.directory, directory / "read") as read:
            what = _changed(files, content_of(read)) if _anchor_of(scene) == _anchor_of(files) else "anchor"
        with _copied_as_is(scene.directory, directory / "verified") as verified:
            by_verify = _verify(verified)
        by_start = await _start(scene.directory)
    told.changed[what] += 1
    wrong = [said for said in (by_start, by_verify) if said.startswith("NO WORDS")]
    if by_verify or (what in ("log", "anchor") and by_start):
        told.noticed[what] += 1
    elif what in MUST:
        wrong.append(f"it changed the {what}; the start said {by_start!r}, verify {by_verify!r}")
    return wrong


def _anchor_of(where: Scene | Files) -> Anchor | None:
    """The anchor; None: it is none."""
    try:
        return read_anchor(where.directory if isinstance(where, Scene) else where.now)
    except AnchorMismatch:
        return None


def _changed(files: Files, after: Content) -> str:
    before = files.content
    if after.changed(before, LOG):
        left = len(after.log)
        if files.anchored <= left < len(before.log) and after.log == before.log[:left]:
            return "tail that no anchor knew"
        return "log"
    if after.changed(before, PROJECTIONS):
        return "rows"
    if not after.in_order:
        return "pages"
    if after.changed(before, BESIDE):
        return "beside the log"
    return "nothing"


def _verify(directory: Path) -> str:
    """What `tenure log verify` says; empty: all is well."""
    try:
        *_, (_, report) = verify_directory(directory)
    except StoreError as error:
        return str(error)
    except Exception as error:
        return f"NO WORDS: verify: {type(error).__name__}: {error}"
    return "; ".join(report.problems)


async def _start(directory: Path) -> str:
    """What a server says that is started on it; empty: it serves."""
    try:
        async with running_server(f"sqlite://{directory}") as server:
            caller = Caller(server.address, server.admin_secret)
            await caller.position()
            await caller.close()
    except StoreError as error:
        return str(error)
    except grpc.aio.AioRpcError as error:
        # It serves what is whole, and does not answer with what is not.
        return f"a read is refused with {error.code().name}"
    except Exception as error:
        return f"NO WORDS: start: {type(error).__name__}: {error}"
    return ""


async def _make_files(directory: Path, generator: random.Random, *, anchored: bool | None = None) -> Files:
    """Two servers' work, killed: the database of the first, and the write-ahead log of the second."""
    server = DiskServer(directory, change="small-checkpoints")
    try:
        await server.up()
        load = MixedLoad(generator, server.admin_token())
        await _work(server, load)
        older = directory / "older"
        shutil.copytree(server.data, older)
        # Either the write-ahead log has everything since, or most of it is in the database already.
        server.run_as(change=generator.choice(["", "small-checkpoints"]))
        await server.up()
        await _work(server, load)
    finally:
        server.close()
    acknowledged = load.ledger.acknowledged()
    now = directory / "now"
    shutil.copytree(server.data, now)
    head = head_of_directory(server.data)
    if anchored if anchored is not None else generator.randrange(4):
        # As a second later: the server was killed before it wrote how far it was.
        write_anchor(now, Anchor(log_id=head.log_id, epoch=head.epoch, position=head.position, hash=head.hash))
    anchor = read_anchor(now)
    assert anchor is not None
    copied_back = directory / "copied-back"
    shutil.copytree(now, copied_back)
    connection = connect_writer(copied_back / NAME)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()
    connection = connect_reader(server.data / NAME)
    try:
        events = [row[0] for row in rows(connection, "SELECT data FROM events")]
        folds = [row[0] for row in rows(connection, "SELECT fold FROM jobs")]
    finally:
        connection.close()
    return Files(
        now=now,
        copied_back=copied_back,
        older=older,
        content=content_of(server.data),
        anchored=anchor.position,
        events=events,
        folds=folds,
        acknowledged=acknowledged,
    )


async def _work(server: DiskServer, load: MixedLoad) -> None:
    before = load.ledger.acknowledged()
    await load.connect(server.address)
    await asyncio.sleep(LOAD_S)

    async def worked() -> bool:
        load.assert_going_on()
        return load.ledger.acknowledged() >= before + ENOUGH

    await eventually(worked, "some load")
    server.kill()
    await load.disconnected()


@contextmanager
def _copied(files: Files, target: Path, *, copied_back: bool = False) -> Iterator[Scene]:
    with _copied_as_is(files.copied_back if copied_back else files.now, target) as directory:
        yield Scene(directory, files.older, files.events, files.folds)


@contextmanager
def _copied_as_is(source: Path, target: Path) -> Iterator[Path]:
    target.mkdir(mode=0o700)
    try:
        for name in FILES:
            if (source / name).exists():
                shutil.copy(source / name, target / name)
        yield target
    finally:
        shutil.rmtree(target)


async def _control(directory: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether an older copy goes unnoticed when nobody asks the anchor."""
    with monkeypatch.context() as patched:
        for module in (sqlite_open, verify_module):
            patched.setattr(module, "anchor_problem", lambda *_: "")
        with _copied(files, directory / "control") as scene:
            old_copy(scene, random.Random(0))
            return not _verify(scene.directory) and not await _start(scene.directory)


async def test_who_has_seen_a_lost_tail_is_told(tmp_path: Path, first_files: Files) -> None:
    """An old copy of everything, the anchor too: no start can notice it, but everybody who has seen more can."""
    files = first_files
    with _copied(files, tmp_path / "now") as scene:
        async with running_server(f"sqlite://{scene.directory}") as server:
            caller = Caller(server.address, server.admin_secret)
            request = event_service_pb2.ReadEventsRequest()
            seen = [each async for each in caller.log.ReadEvents(request, metadata=caller.metadata, timeout=20)]
            token, end = seen[-1].resume_token, await caller.position()
            await caller.close()
        old_copy(scene, random.Random(0))
        shutil.copy(files.older / "anchor.json", scene.directory)
        older = read_anchor(scene.directory)
        assert older is not None
        async with running_server(f"sqlite://{scene.directory}") as server:
            caller = Caller(server.address, server.admin_secret)
            for told in await _going_on(caller, token):
                assert (told.code, told.reason) == ("DATA_LOSS", "LOG_REGRESSED")
            # Nor does it help that others have come in the place of what is gone, and more of them.
            while await caller.position() <= end:
                await caller.create_many([specification()] * 1000)
            for told in await _going_on(caller, token):
                assert (told.code, told.reason) == ("DATA_LOSS", "LOG_REGRESSED")
            await caller.close()
    with _copied(files, tmp_path / "again") as scene:
        old_copy(scene, random.Random(0))
        assert "acknowledged events are gone" in await _start(scene.directory)


async def _going_on(caller: Caller, token: str) -> list[Refusal]:
    """How somebody who goes on from there is refused, by the log and by the watch."""
    events = event_service_pb2.ReadEventsRequest(resume_token=token)
    jobs = job_service_pb2.WatchJobsRequest(resume_token=token)
    return [
        await refusal(caller.log.ReadEvents(events, metadata=caller.metadata, timeout=20).read()),
        await refusal(caller.jobs.WatchJobs(jobs, metadata=caller.metadata, timeout=20).read()),
    ]
