from __future__ import annotations

from pathlib import Path

import pytest

from tenure.agent.sync.local import LocalStore
from tenure.agent.sync.objects import ObjectRefused, ObjectStore
from tests.agent.sync.store_contract import StoreContract
from tests.agent.sync.stores import OpenGate, listing, put, stored


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, local: LocalStore) -> ObjectStore:
        return local

    @pytest.fixture
    def bucket(self) -> str:
        return "bucket"


async def test_any_key_can_be_stored(local: LocalStore, gate: OpenGate) -> None:
    keys = ["../../x", "/absolute", "a//b", "a/./b", "back\\slash", "nul\0", "a", "a/b", "new\nline"]
    for key in keys:
        await put(local, "bucket", key, key.encode(), gate=gate)
    assert await listing(local, "bucket") == sorted(keys)


async def test_damage_on_the_disk_is_found(local: LocalStore, gate: OpenGate, tmp_path: Path) -> None:
    await put(local, "bucket", "key", b"bytes", gate=gate)
    [path] = (tmp_path / "store" / "bucket").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ObjectRefused, match="checksum"):
        await stored(local, "bucket", "key")
