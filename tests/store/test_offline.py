"""A log that an operator goes on with: what came after it is lost, and what comes now must not pass for it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tenure.controlplane.resume import ResumeTokens
from tenure.domain.errors import Reason, Refused
from tenure.store import offline
from tenure.store.anchor import AnchorMismatch, read_anchor, write_anchor
from tenure.store.offline import accept_directory, head_of_directory, verify_directory
from tenure.store.store import Head, Store
from tests.controlplane.webhooks.rig import HOOK, Names, rigged
from tests.store.making import add_jobs
from tests.store.opening import opened


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A directory whose log is an older copy: its anchor knows of two events more."""
    async with opened(tmp_path / "data") as store:
        await add_jobs(store, "a")
    shutil.copy(tmp_path / "data" / "tenure.db", tmp_path / "old.db")
    async with opened(tmp_path / "data") as store:
        await add_jobs(store, "b", "c")
    shutil.copy(tmp_path / "old.db", tmp_path / "data" / "tenure.db")
    return tmp_path / "data"


def accept(directory: Path) -> Head:
    """Go on with what is there; the log's end as it was said last."""
    *_, (head, report) = accept_directory(directory)
    assert report.ok
    return head


async def announced(store: Store) -> dict[int, str]:
    """What receivers know the announcement of one more job by, with its position; nobody takes it."""
    names = Names()
    names.known[HOOK] = []
    async with rigged(store, names=names) as rig:
        before = len(await rig.deliveries())
        await rig.create(f"http://{HOOK}/")
        return {one.position: one.id for one in await rig.until(lambda found: len(found) > before)}


async def test_what_comes_in_place_of_what_was_lost_is_announced_under_ids_of_its_own(tmp_path: Path) -> None:
    """Receivers skip ids that they have seen, and those who follow go on from where they were."""
    data, key = tmp_path / "data", b"k" * 32
    async with opened(data) as store:
        await announced(store)
        tokens = [await ResumeTokens(store, key).make(1)]
    shutil.copy(data / "tenure.db", tmp_path / "old.db")
    async with opened(data) as store:
        lost = await announced(store)
        tokens.append(await ResumeTokens(store, key).make(2))
    shutil.copy(tmp_path / "old.db", data / "tenure.db")
    accept(data)
    async with opened(data) as store:
        now = await announced(store)
        assert (now[1], now.keys()) == (lost[1], lost.keys())
        assert now[2] != lost[2]
        for token in tokens:
            with pytest.raises(Refused) as refused:
                await ResumeTokens(store, key).check(token)
            assert refused.value.reason is Reason.LOG_REGRESSED


async def test_a_log_that_lost_its_end_goes_on_in_a_new_epoch(data: Path) -> None:
    head = accept(data)
    assert (head.position, head.epoch) == (1, 2)
    assert head_of_directory(data) == head
    *_, (_, report) = verify_directory(data)
    assert report.ok
    async with opened(data) as store:
        assert store.head() == head


async def test_the_epoch_is_later_than_the_anchors(data: Path) -> None:
    anchor = read_anchor(data)
    assert anchor is not None
    write_anchor(data, replace(anchor, epoch=7))
    assert accept(data).epoch == 8


@pytest.mark.parametrize("anchor", [None, "{"], ids=["missing", "damaged"])
async def test_where_nobody_knows_what_was_lost_something_may_have_been(data: Path, anchor: str | None) -> None:
    (data / "anchor.json").unlink()
    if anchor is not None:
        (data / "anchor.json").write_text(anchor)
    assert accept(data).epoch == 2


async def test_a_log_that_lost_nothing_goes_on_as_it_was(data: Path) -> None:
    head = accept(data)
    assert accept(data) == head


async def test_a_crash_before_the_anchor_is_there_starts_no_server(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(offline, "write_anchor", crash)
        with pytest.raises(OSError, match="power"):
            accept(data)
    with pytest.raises(AnchorMismatch, match="the log is in epoch 2, the anchor in 1"):
        async with opened(data):
            pass
    accept(data)
    async with opened(data) as store:
        assert store.head().epoch > 1
