from __future__ import annotations

from pathlib import Path

import pytest

from tenure.runtime.clock import SystemClock
from tenure.store.open import BadAddress, directory_of, open_store
from tests.store.making import add_jobs


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("sqlite:///var/lib/tenure", "/var/lib/tenure"),
        ("sqlite:////var/lib/tenure", "/var/lib/tenure"),
        ("sqlite://var/lib", "/var/lib"),
        ("sqlite:/var/lib", "/var/lib"),
        ("sqlite:data", "data"),
        ("sqlite:./data", "data"),
        ("sqlite:../data", "../data"),
    ],
)
def test_the_directory_is_what_follows(url: str, directory: str) -> None:
    assert directory_of(url) == Path(directory)


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://", "sqlite:///", "memory:", "postgresql://x/y"])
def test_an_address_without_a_directory_is_refused(url: str) -> None:
    with pytest.raises(BadAddress, match="names no directory"):
        directory_of(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/var/lib/tenure", "is not the address of a store"),
        ("mysql://x", "is not a kind of store"),
        ("postgresql://localhost/tenure", "PostgreSQL is not supported yet"),
        ("postgres://localhost/tenure", "PostgreSQL is not supported yet"),
        ("sqlite:", "names no directory"),
    ],
)
async def test_what_cannot_be_opened_is_said(url: str, words: str) -> None:
    with pytest.raises(BadAddress, match=words):
        await open_store(url, clock=SystemClock(), on_fatal=lambda error: None)


async def test_both_engines_are_opened_by_their_address(tmp_path: Path) -> None:
    for url, engine in (("memory:", "memory"), (f"sqlite://{tmp_path}/data", "sqlite")):
        store = await open_store(url, clock=SystemClock(), on_fatal=lambda error: None)
        assert store.engine == engine
        await add_jobs(store, "a")
        await store.close()
    assert (tmp_path / "data" / "tenure.db").exists()


async def test_logs_have_ids_of_their_own() -> None:
    stores = [await open_store("memory:", clock=SystemClock(), on_fatal=lambda error: None) for _ in range(2)]
    assert stores[0].head().log_id != stores[1].head().log_id
