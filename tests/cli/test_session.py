from __future__ import annotations

from pathlib import Path

import pytest

from tenure.cli.failures import Problem
from tenure.cli.local_token import write_pointer
from tenure.cli.session import Options, Output, read_token
from tenure.v1 import job_pb2, job_service_pb2
from tests.cli.conftest import Tenure
from tests.client.scripted import ScriptedServer


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    return path


def test_the_file_wins_over_the_variable_and_that_over_this_machine(
    token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_token(Options()) is None
    local = tmp_path / "admin.token"
    local.write_text("local")
    write_pointer("127.0.0.1:50051", local)
    assert read_token(Options()) == "local"
    assert read_token(Options(server="localhost:50051")) == "local"
    assert read_token(Options(server="elsewhere:50051")) is None
    monkeypatch.setenv("TENURE_TOKEN", "from-variable")
    assert read_token(Options()) == "from-variable"
    assert read_token(Options(token_file=token_file)) == "from-file"


@pytest.mark.parametrize("content", [b"", b" \n", b"a\nb", b"\xc3\xbc", b"\xff"])
def test_a_file_without_a_token(token_file: Path, content: bytes) -> None:
    token_file.write_bytes(content)
    with pytest.raises(Problem) as caught:
        read_token(Options(token_file=token_file))
    assert str(token_file) in caught.value.message


def test_a_token_that_fits_no_header_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENURE_TOKEN", "se\ncret")
    with pytest.raises(Problem) as caught:
        read_token(Options())
    assert "cret" not in "".join(caught.value.lines())


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(Problem, match="--token-file: cannot read /nowhere/token: No such file or directory"):
        read_token(Options(token_file=Path("/nowhere/token")))


def test_options_behind_the_command_win() -> None:
    before = Options(server="a:1", output=Output.JSON, tls=True)
    assert Options(server="b:2").over(before) == Options(server="b:2", output=Output.JSON, tls=True)
    assert Options(tls=False).over(before).tls is False


async def test_the_token_is_sent(
    server: ScriptedServer, tenure: Tenure, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers("RetrieveJob", job_service_pb2.RetrieveJobResponse(job=job_pb2.Job(id="a")))
    await tenure("jobs", "get", "a")
    await tenure("jobs", "get", "a", "--token-file", str(token_file))
    monkeypatch.setenv("TENURE_TOKEN_FILE", str(token_file))
    await tenure("jobs", "get", "a")
    write_pointer(server.address, token_file)
    monkeypatch.delenv("TENURE_TOKEN_FILE")
    await tenure("jobs", "get", "a")
    assert [each.get("authorization") for each in server.metadata] == [None, *["Bearer from-file"] * 3]


@pytest.mark.parametrize("command", [["jobs", "get", "a"], ["worker", "--work-dir", "work"]])
async def test_a_certificate_that_is_none(
    command: list[str], tenure: Tenure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = await tenure("--tls-ca", "nowhere.pem", *command)
    assert (result.code, "--tls-ca: cannot read nowhere.pem" in result.err) == (2, True)
    Path("authority.key").write_text("-----BEGIN PRIVATE KEY-----\n")
    result = await tenure("--tls-ca", "authority.key", *command)
    assert (result.code, "--tls-ca: authority.key holds no certificate in PEM form" in result.err) == (2, True)
    assert not Path("work").exists()
