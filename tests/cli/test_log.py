from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest
from typer.testing import CliRunner

from tenure.cli.main import app
from tests.store.making import add_jobs, change, life, put
from tests.store.opening import opened


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as store:
        job, _ = await add_jobs(store, "a", "b")
        await put(store, change(job, *life(job)))
    return tmp_path / "data"


def tenure(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


async def test_a_whole_log_is_verified(data: Path) -> None:
    code, out, _ = tenure("log", "verify", "--store", f"sqlite://{data}")
    assert code == 0
    assert re.fullmatch(r"verified: 5 events, 2 jobs, chain [0-9a-f]{8}\n", out)


async def test_what_is_wrong_is_listed(data: Path) -> None:
    connection = apsw.Connection(str(data / "tenure.db"))
    connection.execute("UPDATE jobs SET state = 5 WHERE number = 2")
    connection.close()
    code, _, err = tenure("log", "verify", "--store", f"sqlite://{data}")
    assert code == 1
    assert "the log is not whole" in err
    assert "job/b: its row is not what its 1 events make of it" in err
    code, out, _ = tenure("log", "rebuild", "--store", f"sqlite://{data}")
    assert (code, out) == (0, "rebuilt: 5 events\n")
    assert tenure("log", "verify", "--store", f"sqlite://{data}")[0] == 0


async def test_a_running_server_keeps_its_log_to_itself(data: Path) -> None:
    async with opened(data):
        for command in ("verify", "rebuild"):
            code, _, err = tenure("log", command, "--store", f"sqlite://{data}")
            assert code == 1
            assert "is in use by process" in err


async def test_a_log_without_anchor_is_accepted_on_request(data: Path) -> None:
    (data / "anchor.json").unlink()
    code, _, err = tenure("log", "verify", "--store", f"sqlite://{data}")
    assert code == 1
    assert "anchor.json is missing" in err
    code, out, _ = tenure("log", "verify", "--write-anchor", "--store", f"sqlite://{data}")
    assert code == 0
    assert out.startswith("anchored: position 5, chain ")
    async with opened(data) as store:
        assert store.head().position == 5


@pytest.mark.parametrize(
    ("store", "code", "words"),
    [("sqlite:/nowhere/at/all", 1, "there is no store"), ("memory:", 2, "names no directory")],
)
def test_what_is_no_store_is_said(store: str, code: int, words: str) -> None:
    exit_code, _, err = tenure("log", "verify", "--store", store)
    assert exit_code == code
    assert words in err
