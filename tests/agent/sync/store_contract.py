"""What every object store promises. Each test runs over every implementation: see test_local.py and test_s3.py."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os

import pytest

from tenure.agent.sync.content import FileContent
from tenure.agent.sync.gate import FencedOff
from tenure.agent.sync.objects import BLOCK, ContentChanged, ObjectChanged, ObjectInfo, ObjectRefused, ObjectStore
from tenure.runtime.clock import SystemClock
from tests.agent.conftest import Eventually
from tests.agent.sync.stores import HandGate, OpenGate, content, listing, put, stored

ODD_KEYS = ["a b", "ü/ñ/漢字", "100%+&?#=;,'()", "a-b", "a/b", "a.gz", "-rf", "~", "x" * 200, "emoji 🙂"]


class StoreContract:
    """Needs the fixtures `store` and `bucket` (an empty one)."""

    async def test_what_is_put_is_got(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        data = os.urandom(100_000)
        info = await put(store, bucket, "folder/file", data, gate=gate)
        assert (info.key, info.size) == ("folder/file", len(data))
        assert await stored(store, bucket, "folder/file") == data

    async def test_an_empty_object_is_one(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        await put(store, bucket, "empty", b"", gate=gate)
        assert await stored(store, bucket, "empty") == b""

    async def test_a_put_replaces(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        first = await put(store, bucket, "key", b"one", gate=gate)
        second = await put(store, bucket, "key", b"two, longer", gate=gate)
        assert first.etag != second.etag
        assert await stored(store, bucket, "key") == b"two, longer"

    async def test_large_objects_survive(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        data = os.urandom(1000) * ((2 * BLOCK + 12_345) // 1000)
        body = content(data)
        sent: list[int] = []
        await store.put(bucket, "large", body, gate=gate, metadata={"note": "kept"}, sent=sent.append)
        body.close()
        info = await store.head(bucket, "large")
        assert info is not None
        assert (info.size, info.metadata.get("note"), sum(sent)) == (len(data), "kept", len(data))
        assert await stored(store, bucket, "large") == data

    async def test_head_knows_encoding_and_metadata(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        body = content(b"packed")
        await store.put(bucket, "k.gz", body, gate=gate, content_encoding="gzip", metadata={"a-b": "c"})
        body.close()
        info = await store.head(bucket, "k.gz")
        assert info is not None
        assert (info.size, info.content_encoding, info.metadata["a-b"]) == (6, "gzip", "c")
        target = io.BytesIO()
        got = await store.get(bucket, "k.gz", target, expected=info)
        assert (target.getvalue(), got.content_encoding, got.metadata["a-b"]) == (b"packed", "gzip", "c")

    async def test_head_of_nothing_is_none(self, store: ObjectStore, bucket: str) -> None:
        assert await store.head(bucket, "nothing") is None

    async def test_a_listing_holds_what_starts_with_the_prefix(
        self, store: ObjectStore, bucket: str, gate: OpenGate
    ) -> None:
        for key in ("data/a", "data/b/c", "database/d", "e"):
            await put(store, bucket, key, key.encode(), gate=gate)
        assert await listing(store, bucket, "data/") == ["data/a", "data/b/c"]
        assert await listing(store, bucket) == ["data/a", "data/b/c", "database/d", "e"]
        assert await listing(store, bucket, "none/") == []

    async def test_a_listing_tells_size_and_etag(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        info = await put(store, bucket, "key", b"12345", gate=gate)
        [listed] = [each async for each in store.list(bucket, "key")]
        assert (listed.size, listed.etag) == (5, info.etag)

    async def test_odd_keys_are_kept_as_they_are(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        for key in ODD_KEYS:
            await put(store, bucket, f"odd/{key}", key.encode(), gate=gate)
        assert await listing(store, bucket, "odd/") == sorted(f"odd/{key}" for key in ODD_KEYS)
        for key in ODD_KEYS:
            assert await stored(store, bucket, f"odd/{key}") == key.encode()

    async def test_a_get_can_be_tried_again(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        info = await put(store, bucket, "key", b"bytes", gate=gate)
        target = io.BytesIO(b"something that was there before")
        target.seek(0, io.SEEK_END)
        for _ in range(2):
            await store.get(bucket, "key", target, expected=info)
            assert target.getvalue() == b"bytes"

    async def test_a_replaced_object_is_not_accepted(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        before = await put(store, bucket, "key", b"old", gate=gate)
        await put(store, bucket, "key", b"new", gate=gate)
        with pytest.raises(ObjectChanged):
            await store.get(bucket, "key", io.BytesIO(), expected=before)

    async def test_a_removed_object_is_a_changed_one(self, store: ObjectStore, bucket: str) -> None:
        with pytest.raises(ObjectChanged):
            await store.get(bucket, "gone", io.BytesIO(), expected=ObjectInfo(key="gone", size=1, etag='"0"'))

    async def test_a_missing_bucket_is_refused(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectRefused, match="no-such-bucket"):
            await listing(store, "no-such-bucket")

    async def test_bytes_with_another_checksum_are_refused(
        self, store: ObjectStore, bucket: str, gate: OpenGate
    ) -> None:
        body = content(b"bytes", sha256=hashlib.sha256(b"others").digest())
        with pytest.raises(ObjectRefused, match=r"damaged|checksum"):
            await store.put(bucket, "key", body, gate=gate)
        body.close()
        assert await store.head(bucket, "key") is None

    async def test_a_file_that_changes_is_not_stored_half(
        self, store: ObjectStore, bucket: str, gate: OpenGate
    ) -> None:
        data = b"x" * (2 * BLOCK + 1)
        blocks = [hashlib.sha256(data[start : start + BLOCK]).digest() for start in range(0, len(data), BLOCK)]
        good = content(data)
        blocks[1] = hashlib.sha256(b"what it was when it was hashed").digest()
        changed = FileContent(good._file, size=len(data), sha256=good.sha256, blocks=tuple(blocks))
        with pytest.raises(ContentChanged):
            await store.put(bucket, "key", changed, gate=gate)
        changed.close()
        assert await store.head(bucket, "key") is None

    @pytest.mark.parametrize("size", [3, 2 * BLOCK + 1])
    async def test_nothing_is_written_while_the_gate_is_closed(
        self, store: ObjectStore, bucket: str, clock: SystemClock, size: int, eventually: Eventually
    ) -> None:
        gate = HandGate(clock)
        putting = asyncio.create_task(put(store, bucket, "key", b"x" * size, gate=gate))
        await eventually(lambda: gate.waiting)
        assert await store.head(bucket, "key") is None
        gate.open.set()
        await putting
        assert await stored(store, bucket, "key") == b"x" * size

    @pytest.mark.parametrize("size", [3, 2 * BLOCK + 1])
    async def test_nothing_is_written_once_the_attempt_is_over(
        self, store: ObjectStore, bucket: str, clock: SystemClock, size: int
    ) -> None:
        gate = HandGate(clock)
        gate.fence_off()
        with pytest.raises(FencedOff):
            await put(store, bucket, "key", b"x" * size, gate=gate)
        assert await store.head(bucket, "key") is None

    async def test_many_at_once(self, store: ObjectStore, bucket: str, gate: OpenGate) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(put(store, bucket, f"many/{number:02}", bytes([number]), gate=gate))
        assert len(await listing(store, bucket, "many/")) == 40
