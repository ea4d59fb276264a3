from __future__ import annotations

import gzip
import hashlib
import io
import os
import time
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import pytest

from tenure.agent.sync import content
from tenure.agent.sync.beneath import Place
from tenure.agent.sync.content import GivenUp, Reading
from tenure.agent.sync.objects import BLOCK, ContentChanged, ObjectRefused


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(root=tmp_path, relative="")


def read(place: Place, *, pack: bool = False, aside: bool = False) -> Reading:
    reading = content.read(place, "file", Event(), pack=pack, aside=aside, spool=None)
    assert reading is not None
    return reading


def everything(reading: Reading) -> bytes:
    return b"".join(
        reading.content.read_at(offset, min(BLOCK, reading.content.size - offset))
        for offset in range(0, reading.content.size, BLOCK)
    )


@pytest.mark.parametrize("size", [0, 1, 100_000, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 7])
def test_a_file_is_read_as_it_is(place: Place, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    reading = read(place)
    assert everything(reading) == data
    assert reading.content.sha256 == reading.sha256 == hashlib.sha256(data).digest()
    assert not reading.torn
    reading.content.close()


@pytest.mark.parametrize("size", [0, 100_000, 2 * BLOCK + 7])
def test_a_packed_file_unpacks_to_itself(place: Place, tmp_path: Path, size: int) -> None:
    data = os.urandom(100) * (size // 100)
    (tmp_path / "file").write_bytes(data)
    reading = read(place, pack=True)
    packed = everything(reading)
    assert gzip.decompress(packed) == data
    assert reading.content.sha256 == hashlib.sha256(packed).digest()
    assert reading.sha256 == hashlib.sha256(data).digest()
    target = io.BytesIO()
    assert content.unpack(io.BytesIO(packed), target, "shown", Event()) == reading.sha256
    assert target.getvalue() == data
    reading.content.close()


def test_equal_files_pack_to_equal_bytes(place: Place, tmp_path: Path) -> None:
    packed = set()
    for mtime in (1_000_000_000, 1_500_000_000):
        (tmp_path / "file").write_bytes(b"same")
        os.utime(tmp_path / "file", (mtime, mtime))
        reading = read(place, pack=True)
        packed.add(everything(reading))
        reading.content.close()
    assert len(packed) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip at all", gzip.compress(b"cut off" * 100, mtime=0)[:-9], b"\x1f\x8b\x08damaged!!"],
    ids=["empty", "none", "cut off", "damaged"],
)
def test_damaged_packed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ObjectRefused, match="s3://bucket/key says it is gzipped"):
        content.unpack(io.BytesIO(data), io.BytesIO(), "s3://bucket/key", Event())


def test_a_small_file_is_fixed_once_it_is_read(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    reading = read(place)
    (tmp_path / "file").write_bytes(b"after!")
    assert everything(reading) == b"before"
    reading.content.close()


def test_a_large_file_that_is_rewritten_is_not_sent(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * (2 * BLOCK + 10))
    reading, aside = read(place), read(place, aside=True)
    with (tmp_path / "file").open("r+b") as file:
        file.seek(BLOCK + 5)
        file.write(b"b")
    assert reading.content.read_at(0, BLOCK) == b"a" * BLOCK
    with pytest.raises(ContentChanged):
        reading.content.read_at(BLOCK, BLOCK)
    assert everything(aside) == b"a" * (2 * BLOCK + 10)
    for each in (reading, aside):
        each.content.close()


def test_a_large_file_that_grows_is_sent_as_it_was(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 2 * BLOCK)
    reading = read(place)
    with (tmp_path / "file").open("ab") as file:
        file.write(b"more")
    assert everything(reading) == b"a" * 2 * BLOCK
    reading.content.close()


def test_a_large_file_that_shrinks_is_not_sent(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 2 * BLOCK)
    reading = read(place)
    os.truncate(tmp_path / "file", BLOCK + 1)
    with pytest.raises(ContentChanged):
        everything(reading)
    reading.content.close()


@pytest.mark.parametrize(("age_s", "racy"), [(0, True), (10, False), (-3600, False)])
def test_a_file_written_just_now_may_be_written_again_unseen(
    place: Place, tmp_path: Path, age_s: int, racy: bool
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    if age_s:
        then = time.time() - age_s
        os.utime(tmp_path / "file", (then, then))
    reading = read(place)
    assert reading.racy == racy
    reading.content.close()


@pytest.mark.parametrize(("size", "pack"), [(10, False), (10, True), (2 * BLOCK, False)])
def test_nobody_waits_for_work_that_is_given_up(place: Place, tmp_path: Path, size: int, pack: bool) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    abort = Event()
    abort.set()
    with pytest.raises(GivenUp):
        content.read(place, "file", abort, pack=pack, aside=False, spool=None)
    with pytest.raises(GivenUp):
        content.unpack(io.BytesIO(gzip.compress(b"x")), io.BytesIO(), "key", abort)


def test_what_is_no_regular_file_is_none(place: Place, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    assert content.read(place, "file", Event(), pack=False, aside=False, spool=None) is None
    assert content.read(place, "missing", Event(), pack=False, aside=False, spool=None) is None


@pytest.mark.parametrize("kind", ["symlink", "nothing", "file"])
def test_a_spool_that_is_no_folder_is_refused(tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.utime(elsewhere, (1, 1))
    spool = tmp_path / "spool"
    if kind == "symlink":
        spool.symlink_to(elsewhere)
    elif kind == "file":
        spool.touch()
    with pytest.raises(OSError, match=r"symbolic|directory"):
        content.spooled(spool)
    assert elsewhere.stat().st_mtime == 1


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_a_copy_whose_name_stays_or_is_gone_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def fail(name: str, *, dir_fd: int) -> None:
        raise error(1, "Operation not permitted")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", fail)
        with nullcontext() if error is FileNotFoundError else pytest.raises(error):
            # What the job was quicker to remove is nameless as it should be.
            content.spooled(tmp_path).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_copy_has_no_name(tmp_path: Path) -> None:
    with content.spooled(tmp_path) as copy:
        copy.write(b"x")
        copy.flush()
        assert os.fstat(copy.fileno()).st_dev == tmp_path.stat().st_dev
        assert list(tmp_path.iterdir()) == []
