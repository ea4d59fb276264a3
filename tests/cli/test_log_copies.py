from __future__ import annotations

import json
from pathlib import Path

import apsw
import pytest
from typer.testing import CliRunner

from tenure.cli.main import app
from tenure.v1 import job_pb2
from tests.store.making import add_jobs, change, created_event, creation, life, put
from tests.store.opening import opened


def tenure(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def url(directory: Path) -> str:
    return f"sqlite://{directory}"


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as store:
        specification = job_pb2.JobSpecification(command="python", arguments=["main.py"]).SerializeToString()
        (job,) = await put(store, creation("a", created_event("a", specification=specification)))
        await put(store, change(job, *life(job)))
        await add_jobs(store, "b")
    return tmp_path / "data"


@pytest.fixture
def backup(data: Path, tmp_path: Path) -> Path:
    assert tenure("log", "backup", str(tmp_path / "backup.db"), "--store", url(data))[0] == 0
    return tmp_path / "backup.db"


async def test_a_backup_is_restored_elsewhere_and_in_place(data: Path, backup: Path, tmp_path: Path) -> None:
    code, out, err = tenure("log", "restore", str(backup), "--store", url(tmp_path / "new"))
    assert (code, out) == (0, f"restored: position 5, epoch 2, in {tmp_path / 'new'}\n")
    assert "revoke again what was revoked since" in err
    assert tenure("log", "verify", "--store", url(tmp_path / "new"))[0] == 0

    async with opened(data) as store:
        await add_jobs(store, "c", "d")
    code, _, err = tenure("log", "restore", str(backup), "--store", url(data))
    assert (code, "holds a log of 7 events already: --replace" in err) == (1, True)
    code, out, err = tenure("log", "restore", str(backup), "--replace", "--store", url(data))
    assert (code, out) == (0, f"restored: position 5, epoch 2, in {data}\n")
    assert "2 events that came after it are gone" in err
    assert f"what was there is in {data / 'replaced-1'}" in err


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("hello"), lambda path: path.touch()])
async def test_what_is_no_backup(tmp_path: Path, make: object) -> None:
    make(tmp_path / "file")  # type: ignore[operator]
    code, _, err = tenure("log", "restore", str(tmp_path / "file"), "--store", url(tmp_path / "new"))
    assert code == 1
    assert err.startswith("tenure: ")
    assert not (tmp_path / "new" / "tenure.db").exists()


async def test_a_log_is_exported_and_imported(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.ndjson"
    code, out, err = tenure("log", "export", str(file), "--store", url(data))
    assert (code, out, err) == (0, "", f"tenure: exported: 5 events of epoch 1, in {file}\n")
    heading, *events = [json.loads(line) for line in file.read_text().splitlines()]
    assert (heading["tenureLog"], heading["position"], heading["epoch"]) == (1, 5, 1)
    assert [event["position"] for event in events] == ["1", "2", "3", "4", "5"]
    code, out, _ = tenure("log", "import", str(file), "--store", url(tmp_path / "new"))
    assert (code, out) == (0, f"imported: 5 events, epoch 2, in {tmp_path / 'new'}\n")
    assert tenure("log", "verify", "--store", url(tmp_path / "new"))[0] == 0
    code, _, err = tenure("log", "import", str(file), "--store", url(tmp_path / "new"))
    assert (code, "holds a log already" in err) == (1, True)


async def test_through_a_pipe(backup: Path, tmp_path: Path) -> None:
    code, out, _ = tenure("log", "export", "-", "--backup", str(backup))
    assert (code, len(out.splitlines())) == (0, 6)
    code, out, _ = tenure("log", "import", "-", "--store", url(tmp_path / "new"), stdin=out)
    assert (code, out) == (0, f"imported: 5 events, epoch 2, in {tmp_path / 'new'}\n")


async def test_tables(backup: Path, tmp_path: Path) -> None:
    file = tmp_path / "tables.db"
    code, _, err = tenure("log", "export", str(file), "--sqlite", "--backup", str(backup))
    assert (code, err) == (0, f"tenure: exported: 5 events of epoch 1, in {file}\n")
    tables = apsw.Connection(str(file))
    jobs = tables.execute("SELECT id, outcome, json_extract(specification, '$.command') FROM jobs").fetchall()
    assert jobs == [("a", "COMPLETED", "python"), ("b", None, None)]
    tables.close()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["export", "x"], 2, "give the --store of a stopped server, or a --backup"),
        (["export", "-", "--sqlite", "--backup", "{backup}"], 2, "name a file"),
        (["export", "{backup}", "--backup", "{backup}"], 1, "is there already"),
        (["export", "{backup}", "--sqlite", "--backup", "{backup}"], 1, "is there already"),
        (["export", "/nowhere/at/all", "--backup", "{backup}"], 1, "there is no folder"),
        (["export", "-", "--backup", "/nowhere"], 1, "there is no store at /nowhere"),
        (["export", "-", "--store", "sqlite:/nowhere"], 1, "there is no store at /nowhere"),
        (["import", "/nowhere", "--store", "sqlite:/nowhere-either"], 1, "/nowhere: No such file"),
        (["import", "-", "--store", "{new}"], 1, "it is empty"),
    ],
)
async def test_what_cannot_be_done_is_said(
    backup: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    names = {"backup": str(backup), "new": url(tmp_path / "new")}
    exit_code, _, err = tenure("log", *(argument.format(**names) for argument in arguments))
    assert exit_code == code
    assert says in err


async def test_a_running_server_keeps_its_log_to_itself(data: Path, backup: Path) -> None:
    async with opened(data):
        for command in (
            ["restore", str(backup), "--replace"],
            ["export", "-"],
            ["import", "-"],
        ):
            code, _, err = tenure("log", *command, "--store", url(data))
            assert (code, "is in use by process" in err) == (1, True), command
            assert ("tenure log backup" in err) == (command[0] == "export"), command
