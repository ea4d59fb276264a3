"""Folders swapped for symlinks while the agent copies, a thousand times; and object keys that would be paths elsewhere.

The swapper exchanges a folder with a symlink in one step of the kernel, so that at every instant the name is there, as
one or as the other: whoever looks at a path and then opens it falls for it, as the control shows.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tenure.agent.sync import removal
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.folders import resolve
from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.offload import Threads
from tenure.agent.sync.retry import SyncRefused
from tenure.agent.sync.session import AttemptSync
from tenure.agent.sync.watcher import NoWatcher
from tenure.runtime.clock import SystemClock
from tenure.v1 import job_pb2
from tests.agent.sync.stores import OpenGate, listing, put, stored
from tests.proof.record import Proof, settle
from tests.proof.sizes import size

CANARY = b"canary-2c9d4b61: of somebody else"
BUCKET = "bucket"
FILES = 5
AT_FDCWD, RENAME_EXCHANGE = -100, 2

# What whoever may write to the bucket can put there. None of these is a path below a folder.
HOSTILE_KEYS = [
    "../../escaped",
    "..",
    "/etc/escaped",
    "a/../../escaped",
    "a//b",
    "a/./b",
    "a/..",
    "a\\b",
    "nul\0nul",
    "line\nbreak",
    "bell\a",
    "x" * 256,
    "/".join(["x" * 200] * 6),
    ".tenure-owned",
    "a/.tenure-0123456789abcdef",
]


class Swapper:
    """Exchanges a folder and a symlink again and again, until it is stopped."""

    def __init__(self, folder: Path, link: Path) -> None:
        self.swaps = 0
        self._paths = bytes(folder), bytes(link)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="swapper")

    def __enter__(self) -> Swapper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        while not self._over.is_set():
            if libc.renameat2(AT_FDCWD, self._paths[0], AT_FDCWD, self._paths[1], RENAME_EXCHANGE) == 0:
                self.swaps += 1
            time.sleep(0.0001)


def snapshot(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Everything in a folder: mode, time of change, and content."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [folder, *folder.rglob("*")]
    }


class Place:
    """A private folder, a store, and what lies outside."""

    def __init__(self, directory: Path, offload: Threads) -> None:
        self.offload = offload
        self.clock = SystemClock()
        self.gate = OpenGate(self.clock)
        self.store = LocalStore(directory / "store", offload=offload)
        self.store.create_bucket(BUCKET)
        self.private = directory / "jobs" / "job-1" / "work"
        self.private.mkdir(parents=True)
        self.outside = directory / "outside"
        self.outside.mkdir()
        for number in range(FILES):
            (self.outside / f"file-{number}").write_bytes(CANARY)

    def sync(self, rules: job_pb2.Sync) -> AttemptSync:
        """The sync of an attempt."""
        return AttemptSync(
            store=self.store,
            rules=rules,
            compression=False,
            resolve_path=lambda path: resolve(path, private=self.private, trusted=self.private.parents[1]),
            owner="attempt 1",
            gate=self.gate,
            clock=self.clock,
            counters=Counters(),
            random=Random(1),
            offload=self.offload,
            watcher=NoWatcher.watch,
            retry_budget_s=10.0,
        )

    def two(self, below: str) -> tuple[Path, Path]:
        """A folder with harmless files, and a symlink to the outside beside it."""
        folder = self.private / below / "d"
        link = self.private / f"link-of-{below}"
        folder.mkdir(parents=True)
        link.symlink_to(self.outside)
        for number in range(FILES):
            (folder / f"file-{number}").write_bytes(b"harmless")
        return folder, link


@pytest.fixture
def offload() -> Iterator[Threads]:
    with ThreadPoolExecutor(8) as threads:
        yield Threads(threads)


@pytest.fixture
async def place(tmp_path: Path, offload: Threads) -> Place:
    return Place(tmp_path, offload)


async def upload(place: Place, times: int) -> tuple[int, int]:
    """Upload a folder while it is swapped; how often it was, and how many uploads were refused."""
    folder, link = place.two("out")
    refused = 0
    rule = job_pb2.SyncRule(bucket=BUCKET, prefix="out", local_path="out")
    with Swapper(folder, link) as swapper:
        for _ in range(times):
            sync = place.sync(job_pb2.Sync(after=[rule]))
            try:
                await sync.after()
            except SyncRefused:
                refused += 1
            finally:
                await sync.close()
    return swapper.swaps, refused


async def download(place: Place, times: int) -> tuple[int, int]:
    """Load objects into a folder that is swapped; how often it was, and how often that was refused."""
    folder, link = place.two("in")
    refused = 0
    for number in range(FILES):
        await put(place.store, BUCKET, f"in/d/file-{number}", b"loaded", gate=place.gate)
    rule = job_pb2.SyncRule(bucket=BUCKET, prefix="in", local_path="in")
    with Swapper(folder, link) as swapper:
        for _ in range(times):
            sync = place.sync(job_pb2.Sync(before=[rule]))
            try:
                await sync.before()
            except SyncRefused:
                refused += 1
            finally:
                await sync.close()
    return swapper.swaps, refused


def remove(place: Place, times: int) -> int:
    """Remove trees in which a folder is swapped meanwhile; how often it was."""
    swaps = 0
    for _ in range(times):
        folder, link = place.two("gone")
        with Swapper(folder, link) as swapper:
            removal.remove(folder.parent)
        swaps += swapper.swaps
        removal.remove(folder.parent)
        removal.remove(link)
    return swaps


def naive_upload_leaks(place: Place, most_s: float = 20.0) -> bool:
    """Whether a copy by paths, looked at before they are opened, takes what lies outside."""
    folder, link = place.two("naive")
    until = time.monotonic() + most_s
    with Swapper(folder, link):
        while time.monotonic() < until:
            for top, _, names in os.walk(folder.parent):  # follows no symlink, it says
                for name in names:
                    path = os.path.join(top, name)
                    with contextlib.suppress(OSError):
                        if not os.path.islink(path) and Path(path).read_bytes() == CANARY:
                            return True
    return False


async def test_folders_swapped_for_symlinks_lead_nowhere(place: Place) -> None:
    began = time.monotonic()
    before = snapshot(place.outside)
    times = size(short=20, full=1000)
    uploads, refused = await upload(place, times)
    downloads, turned_away = await download(place, times)
    removals = remove(place, times)
    violations = []
    if snapshot(place.outside) != before:
        violations.append("something outside was changed")
    objects = {key: await stored(place.store, BUCKET, key) or b"" for key in await listing(place.store, BUCKET)}
    violations += [f"what lies outside was stored as {key}" for key, data in objects.items() if CANARY in data]
    settle(
        Proof(
            name="sync-races",
            promise="The agent stores, changes and removes nothing outside of a job's folder, however often a folder "
            "in it is swapped for a symlink while it copies or removes.",
            fault="A thread exchanges a folder and a symlink to the outside all the time.",
            runs=3 * times,
            faults=uploads + downloads + removals,
            acknowledged=6 * times - refused - turned_away,
            violations=violations,
            figures={"uploads refused": refused, "downloads refused": turned_away},
            control="a copy that looks at each path before it opens it stores what lies outside",
            bites=naive_upload_leaks(place),
            seconds=round(time.monotonic() - began, 1),
        )
    )


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=ascii)
async def test_a_hostile_key_is_no_path(place: Place, key: str) -> None:
    everything = snapshot(place.private.parents[2] / "jobs")
    await put(place.store, BUCKET, f"in/{key}", b"loaded", gate=place.gate)
    sync = place.sync(job_pb2.Sync(before=[job_pb2.SyncRule(bucket=BUCKET, prefix="in", local_path="in")]))
    with pytest.raises(SyncRefused, match=r"object keys? cannot be file names|longer than") as refused:
        await sync.before()
    assert str(refused.value).isprintable()
    await sync.close()
    (place.private / "in").rmdir()
    now = snapshot(place.private.parents[2] / "jobs")
    assert now.keys() == everything.keys()


async def test_keys_that_only_look_hostile_are_files(place: Place) -> None:
    keys = ["-rf", " ", "CON", "e\u0301", "\u00e9", "\u202egnp.exe", "a b", "*", "x" * 255]
    for key in keys:
        await put(place.store, BUCKET, f"in/{key}", key.encode(), gate=place.gate)
    sync = place.sync(job_pb2.Sync(before=[job_pb2.SyncRule(bucket=BUCKET, prefix="in", local_path="in")]))
    await sync.before()
    await sync.close()
    assert {path.name: path.read_bytes().decode() for path in (place.private / "in").iterdir()} == {k: k for k in keys}


async def test_a_file_that_would_be_a_folder_as_well_is_refused(place: Place) -> None:
    for key in ("a", "a/b"):
        await put(place.store, BUCKET, f"in/{key}", b"x", gate=place.gate)
    sync = place.sync(job_pb2.Sync(before=[job_pb2.SyncRule(bucket=BUCKET, prefix="in", local_path="in")]))
    with pytest.raises(SyncRefused, match="is a file, too"):
        await sync.before()
    await sync.close()


@pytest.mark.parametrize("levels", [0, 1])
async def test_a_job_directory_that_became_a_symlink_is_refused(place: Place, tmp_path: Path, levels: int) -> None:
    (place.outside / "work" / "out").mkdir(parents=True)
    (place.outside / "work" / "out" / "key").write_bytes(CANARY)
    sync = place.sync(job_pb2.Sync(after=[job_pb2.SyncRule(bucket=BUCKET, prefix="out", local_path="out")]))
    await sync.before()
    swapped = [place.private, place.private.parent][levels]
    swapped.rename(tmp_path / "away")
    swapped.symlink_to([place.outside / "work", place.outside][levels])
    with pytest.raises(SyncRefused, match="not a folder"):
        await sync.after()
    await sync.close()
    assert await listing(place.store, BUCKET) == []


@pytest.mark.parametrize("pattern", ["", "x"])
async def test_a_name_that_is_no_text_is_refused(place: Place, pattern: str) -> None:
    (place.private / "out").mkdir()
    Path(os.fsdecode(os.fsencode(place.private / "out") + b"/x\xff\xfe")).touch()
    rule = job_pb2.SyncRule(bucket=BUCKET, prefix="out", local_path="out", pattern=pattern)
    sync = place.sync(job_pb2.Sync(after=[rule]))
    with pytest.raises(SyncRefused, match="not UTF-8"):
        await sync.after()
    await sync.close()


async def test_a_name_that_is_no_text_and_not_selected_is_passed_over(place: Place) -> None:
    (place.private / "out").mkdir()
    Path(os.fsdecode(os.fsencode(place.private / "out") + b"/x\xff\xfe")).touch()
    (place.private / "out" / "y").write_bytes(b"y")
    rule = job_pb2.SyncRule(bucket=BUCKET, prefix="out", local_path="out", pattern="^y")
    sync = place.sync(job_pb2.Sync(after=[rule]))
    await sync.after()
    await sync.close()
    assert await listing(place.store, BUCKET) == ["out/y"]
