"""The `before` rules: all of the input, checked, or nothing is started."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.s3 import S3Store
from tenure.agent.sync.s3_client import S3Clients
from tenure.agent.sync.session import AttemptSync, Counters, SyncRefused, SyncUnreachable
from tenure.runtime.clock import SystemClock
from tenure.v1.job_pb2 import Sync, SyncRule
from tests.agent.sync.stores import OpenGate, Watched, put
from tests.servers.seaweedfs import READER, SeaweedFS

MakeSync = Callable[..., AttemptSync]


def before(*rules: tuple[str, str], bucket: str = "bucket", pattern: str = "") -> Sync:
    return Sync(
        before=[SyncRule(bucket=bucket, prefix=prefix, local_path=path, pattern=pattern) for prefix, path in rules]
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_input_is_copied_in_the_order_of_the_rules(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    for key in ("one/a", "one/deep/b", "two/a", "one-more/c"):
        await put(local, "bucket", key, key.encode(), gate=gate)
    counters = Counters()
    sync = make_sync(local, before(("one", "in"), ("two", "in")), counters=counters)
    await sync.before()
    assert files(private) == {"in/a": b"two/a", "in/deep/b": b"one/deep/b"}
    assert (counters.files_downloaded, counters.bytes_downloaded, counters.files_pending) == (3, 20, 0)


async def test_a_job_without_input_starts(local: LocalStore, make_sync: MakeSync, private: Path) -> None:
    sync = make_sync(local, before(("none", "in")))
    await sync.before()
    assert os.listdir(private) == ["in"]
    await make_sync(local, Sync()).before()


async def test_a_hostile_key_starts_nothing(
    local: LocalStore, make_sync: MakeSync, private: Path, tmp_path: Path, gate: OpenGate
) -> None:
    await put(local, "bucket", "in/fine", b"fine", gate=gate)
    await put(local, "bucket", "in/../../../escaped", b"hostile", gate=gate)
    with pytest.raises(SyncRefused, match=r"\.\./\.\./\.\./escaped \(segment '\.\.'\)"):
        await make_sync(local, before(("in", "data"))).before()
    assert files(private) == {}
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith("escaped")]


async def test_a_store_that_fails_for_a_while_does_no_harm(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    for number in range(12):
        await put(local, "bucket", f"in/{number}", str(number).encode(), gate=gate)
    store = Watched(local)
    store.fail_gets = 4
    counters = Counters()
    await make_sync(store, before(("in", "data")), counters=counters).before()
    assert files(private) == {f"data/{number}": str(number).encode() for number in range(12)}
    assert counters.errors == 4


async def test_a_store_out_of_reach_interrupts(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    await put(local, "bucket", "in/a", b"a", gate=gate)
    store = Watched(local)
    store.fail_gets = 1_000_000
    counters = Counters()
    with pytest.raises(SyncUnreachable):
        await make_sync(store, before(("in", "data")), counters=counters, retry_budget_s=0.3).before()
    assert files(private) == {}
    assert counters.files_pending == 0


async def test_an_object_that_is_replaced_meanwhile_is_loaded_anew(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    for key in ("in/a", "in/b", "in/c"):
        await put(local, "bucket", key, b"old", gate=gate)
    store = Watched(local)

    async def replace(key: str) -> None:
        if key == "in/b" and store.gets.count("in/b") == 1:
            await put(local, "bucket", "in/b", b"new", gate=gate)

    store.before_get = replace
    await make_sync(store, before(("in", "data"))).before()
    assert files(private) == {"data/a": b"old", "data/b": b"new", "data/c": b"old"}


async def test_a_prefix_that_does_not_stop_changing_is_refused(
    local: LocalStore, make_sync: MakeSync, gate: OpenGate
) -> None:
    await put(local, "bucket", "in/a", b"0", gate=gate)
    store = Watched(local)

    async def replace(key: str) -> None:
        await put(local, "bucket", key, str(len(store.gets)).encode(), gate=gate)

    store.before_get = replace
    with pytest.raises(SyncRefused, match="change while they are loaded"):
        await make_sync(store, before(("in", "data"))).before()


async def test_only_objects_that_are_packed_are_unpacked(
    local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate
) -> None:
    packed = gzip.compress(b"state")
    await put(local, "bucket", "in/state.gz", packed, gate=gate, content_encoding="gzip")
    await put(local, "bucket", "in/own.gz", packed, gate=gate)
    await make_sync(local, before(("in", "data"))).before()
    assert files(private) == {"data/state": b"state", "data/own.gz": packed}


async def test_a_damaged_packed_object_is_refused(local: LocalStore, make_sync: MakeSync, gate: OpenGate) -> None:
    await put(local, "bucket", "in/state.gz", gzip.compress(b"state" * 1000)[:-10], gate=gate, content_encoding="gzip")
    with pytest.raises(SyncRefused, match="damaged"):
        await make_sync(local, before(("in", "data"))).before()


async def test_the_pattern_chooses(local: LocalStore, make_sync: MakeSync, private: Path, gate: OpenGate) -> None:
    for key in ("in/a.pt", "in/a.log"):
        await put(local, "bucket", key, b"x", gate=gate)
    await make_sync(local, before(("in", "data"), pattern=r"\.pt$")).before()
    assert list(files(private)) == ["data/a.pt"]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (SyncRule(bucket="bucket", prefix="p", local_path="x", pattern="("), "not an RE2 expression"),
        (SyncRule(bucket="bucket", prefix="p", local_path="../x"), "holds '..'"),
        (SyncRule(bucket="bucket", prefix="p", local_path="/etc/x"), "does not lie below a root"),
        (SyncRule(bucket="missing", prefix="p", local_path="x"), "no bucket"),
    ],
)
async def test_a_rule_that_cannot_be_applied_is_refused(
    local: LocalStore, make_sync: MakeSync, rule: SyncRule, why: str
) -> None:
    with pytest.raises(SyncRefused, match=why):
        await make_sync(local, Sync(before=[rule])).before()


async def test_a_foreign_folder_is_refused(
    local: LocalStore, make_sync: MakeSync, tmp_path: Path, gate: OpenGate
) -> None:
    await put(local, "bucket", "in/a", b"new", gate=gate)
    foreign = tmp_path / "app" / "data"
    foreign.mkdir(parents=True)
    (foreign / "a").write_text("precious")
    sync = make_sync(local, before(("in", str(foreign))), allowed=(tmp_path / "app",))
    with pytest.raises(SyncRefused, match="not ours"):
        await sync.before()
    await sync.close()
    await sync.clean()
    assert files(foreign) == {"a": b"precious"}


async def test_nested_absolute_folders_are_prepared_and_cleaned(
    local: LocalStore, make_sync: MakeSync, tmp_path: Path, gate: OpenGate
) -> None:
    await put(local, "bucket", "in/a", b"a", gate=gate)
    app = tmp_path / "app"
    rules = before(("in", str(app / "data" / "in")), ("in", str(app / "data")))
    for _ in range(2):
        sync = make_sync(local, rules, allowed=(app,))
        await sync.before()
        assert {path for path in files(app) if "tenure" not in path} == {"data/in/a", "data/a"}
        if _ == 0:
            (app / "data" / "left over").write_text("by an attempt that was killed")
    await sync.close()
    await sync.clean()
    assert os.listdir(app / "data") == []


@pytest.mark.processes
async def test_input_is_complete_or_refused_on_s3(
    seaweedfs: SeaweedFS,
    s3: S3Store,
    executor: ThreadPoolExecutor,
    make_sync: MakeSync,
    private: Path,
    clock: SystemClock,
    gate: OpenGate,
) -> None:
    """45 objects by two rules; one may not be read, so the second rule is not begun; with access all are there."""
    seaweedfs.create_bucket("guarded")
    content = {f"input/{'b' if number == 15 else 'a'}{number:02}": os.urandom(500) for number in range(30)}
    content |= {f"input/a-second/{number:02}": os.urandom(500) for number in range(15)}
    for key, data in content.items():
        await put(s3, "guarded", key, data, gate=gate)
    first = SyncRule(bucket="guarded", prefix="input", local_path="first", pattern="^[ab][0-9]")
    second = SyncRule(bucket="guarded", prefix="input/a-second", local_path="second")
    rules = Sync(before=[first, second])
    limited = S3Store(
        clients=S3Clients({**seaweedfs.environment(), **READER}, connections=8), executor=executor, clock=clock
    )
    with pytest.raises(SyncRefused, match="get s3://guarded/input/b15: the worker's credentials do not allow it"):
        await make_sync(limited, rules).before()
    assert files(private / "second") == {}

    again = private / "again"
    again.mkdir()
    await make_sync(s3, rules, folder=again).before()
    loaded = files(again)
    assert len(loaded) == 45
    wanted = {
        key.replace("input/a-second/", "second/").replace("input/", "first/"): hashlib.sha256(data).hexdigest()
        for key, data in content.items()
    }
    assert {path: hashlib.sha256(data).hexdigest() for path, data in loaded.items()} == wanted
