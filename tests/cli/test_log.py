from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from typer.testing import CliRunner

from tenure.cli import log, session
from tenure.cli.local_token import write_pointer
from tenure.cli.main import app
from tenure.cli.serve import serve
from tenure.v1 import admin_service_pb2 as pb
from tests.cli.conftest import Tenure
from tests.client.scripted import ScriptedServer
from tests.controlplane.harness import RunningServer, running_server
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
    assert re.fullmatch(r"verified: 5 events, 2 jobs, chain ([0-9a-f]{8})\nanchored: position 5, chain \1\n", out)
    async with opened(data) as store:
        assert store.head().position == 5


async def test_what_is_not_whole_is_not_accepted(data: Path) -> None:
    anchor = data / "anchor.json"
    anchor.unlink()
    connection = apsw.Connection(str(data / "tenure.db"))
    connection.execute("UPDATE commits SET hash = zeroblob(32) WHERE position = 2")
    connection.close()
    code, out, err = tenure("log", "verify", "--write-anchor", "--store", f"sqlite://{data}")
    assert (code, out) == (1, "")
    assert "no anchor was written" in err
    assert "the hash chain breaks there" in err
    assert not anchor.exists()


async def test_what_the_anchor_knew_better_is_said_before_it_goes(data: Path) -> None:
    anchor = data / "anchor.json"
    anchor.write_text(anchor.read_text().replace('"position": 5', '"position": 7'))
    code, out, err = tenure("log", "verify", "--write-anchor", "--store", f"sqlite://{data}")
    assert (code, "anchored: position 5" in out) == (0, True)
    assert err == (
        "tenure: given up: the log ends at position 5, but position 7 was durable: 2 acknowledged events are gone\n"
    )


@pytest.mark.parametrize(
    ("store", "code", "words"),
    [("sqlite:/nowhere/at/all", 1, "there is no store"), ("memory:", 2, "names no directory")],
)
def test_what_is_no_store_is_said(store: str, code: int, words: str) -> None:
    exit_code, _, err = tenure("log", "verify", "--store", store)
    assert exit_code == code
    assert words in err


# --- a server that runs -----------------------------------------------------------------------------------------------


@pytest.fixture
async def running_on(data: Path) -> AsyncIterator[RunningServer]:
    """A real server on the data directory that can be found as `tenure serve` lets itself be found."""
    async with running_server(f"sqlite://{data}") as running:
        write_pointer(running.address, data / "admin.token")
        yield running


async def beside(*arguments: str) -> tuple[int, str, str]:
    """Run a command while the loop goes on."""
    return await asyncio.wait_for(asyncio.to_thread(tenure, *arguments), 30)


async def test_the_server_that_has_the_directory_is_found_and_asked(data: Path, running_on: RunningServer) -> None:
    position = running_on.plane.store.head().position
    store = f"sqlite://{data}"
    assert await beside("log", "verify", "--store", store) == (
        0,
        f"verified by {running_on.address}: {position} events\n",
        "",
    )
    code, out, _ = await beside("log", "state", "--store", store)
    assert (code, f"position   {position}\n" in out) == (0, True)
    target = data.parent / "backup.db"
    code, out, _ = await beside("log", "backup", str(target), "--store", store)
    assert re.fullmatch(rf"backed up: {position} events, [0-9.]+ KiB, verified, in {target}\n", out)
    assert target.is_file()


async def test_another_server_is_not_taken_for_the_one_that_has_the_directory(
    data: Path, running_on: RunningServer, tmp_path: Path
) -> None:
    async with running_server(f"sqlite://{tmp_path / 'other'}") as other:
        code, _, err = await beside("--server", other.address, "log", "verify", "--store", f"sqlite://{data}")
    assert (code, "CREDENTIALS_INVALID" in err) == (1, True)


async def test_one_that_was_killed_is_passed_over(data: Path, running_on: RunningServer) -> None:
    for port in (1, 65535):
        write_pointer(f"127.0.0.1:{port}", data / "admin.token")
    code, out, _ = await beside("log", "verify", "--store", f"sqlite://{data}")
    assert (code, out.startswith(f"verified by {running_on.address}:")) == (0, True)


async def test_a_server_that_cannot_be_found_is_to_be_named(data: Path) -> None:
    async with opened(data):
        for command in (["verify"], ["state"], ["backup", str(data.parent / "b.db")]):
            code, _, err = tenure("log", *command, "--store", f"sqlite://{data}")
            assert code == 1
            assert "is in use by process" in err
            assert "--server HOST:PORT" in err


async def test_what_a_server_finds(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers(
        "VerifyLog", pb.VerifyLogResponse(ok=True, events=7), pb.VerifyLogResponse(problems=["position 3 is missing"])
    )
    result = await tenure("log", "verify")
    assert (result.code, result.out) == (0, f"verified by {server.address}: 7 events\n")
    result = await tenure("log", "verify")
    assert (result.code, result.err) == (1, "tenure: the log is not whole\n  position 3 is missing\n")
    result = await tenure("log", "verify", "-o", "json")
    assert (result.code, result.json["ok"]) == (1, False)


async def test_state(server: ScriptedServer, tenure: Tenure, data: Path) -> None:
    answer = pb.RetrieveStoreResponse(engine="sqlite", log_id="l", epoch=2, position=9, chain_hash=b"\x01\x02")
    server.answers("RetrieveStore", answer)
    lines = (await tenure("log", "state")).out.splitlines()
    assert [line.split() for line in lines] == [
        ["engine", "sqlite"],
        ["log", "l"],
        ["epoch", "2"],
        ["position", "9"],
        ["chain", "0102"],
    ]
    assert (await tenure("log", "state", "-o", "json")).json["position"] == "9"
    stopped = await tenure("log", "state", "--store", f"sqlite://{data}", "-o", "json")
    assert (stopped.json["position"], stopped.json["epoch"]) == ("5", "1")
    assert len(server.asked["RetrieveStore"]) == 2


async def test_backup(server: ScriptedServer, tenure: Tenure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    server.answers("BackupStore", pb.BackupStoreResponse(position=9, bytes=2048))
    result = await tenure("log", "backup", "one.db")
    assert (result.code, result.out) == (0, "backed up: 9 events, 2.0 KiB, verified, in one.db\n")
    assert server.asked["BackupStore"][0].path == str(tmp_path / "one.db")
    assert (await tenure("log", "backup", "one.db", "-o", "json")).json == {"position": "9", "bytes": "2048"}
    result = await tenure("log", "backup", "one.db", address="10.9.8.7:1")
    assert (result.code, "give its absolute path" in result.err) == (2, True)


async def test_a_stopped_store_is_backed_up_here(data: Path, tmp_path: Path) -> None:
    code, out, _ = tenure("log", "backup", str(tmp_path / "b.db"), "--store", f"sqlite://{data}")
    assert (code, out.startswith("backed up: 5 events")) == (0, True)
    code, _, err = tenure("log", "backup", str(tmp_path / "b.db"), "--store", f"sqlite://{data}")
    assert (code, "is there already" in err) == (1, True)


async def test_a_server_that_does_not_answer(tenure: Tenure) -> None:
    result = await tenure("log", "verify", address="127.0.0.1:1")
    assert result.code == 3
    assert "--store sqlite:///DIR" in result.err


async def test_without_a_server_the_directory_that_serve_has_by_default_is_opened(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "DEFAULT_SERVER", "127.0.0.1:1")
    monkeypatch.setattr(log, "DEFAULT_SERVER", "127.0.0.1:1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for command in ("verify", "state"):
        assert (await beside("log", command))[0] == 3
    (tmp_path / "here" / "tenure-data").symlink_to(data)
    code, out, err = await beside("log", "verify")
    assert (code, out.startswith("verified: 5 events")) == (0, True)
    assert err == "tenure: nothing listens at 127.0.0.1:1: opening tenure-data here\n"
    assert "position   5\n" in (await beside("log", "state"))[1]
    # A server that was named is meant.
    assert (await beside("--server", "127.0.0.1:1", "log", "verify"))[0] == 3


def test_serve_has_that_directory_by_default() -> None:
    assert inspect.signature(serve).parameters["store"].default == log.DEFAULT_STORE


def test_an_anchor_is_not_for_servers() -> None:
    code, _, err = tenure("log", "verify", "--write-anchor")
    assert (code, "give its --store" in err) == (2, True)
