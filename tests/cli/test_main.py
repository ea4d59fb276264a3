from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tenure.cli import main
from tenure.cli.failures import Problem
from tests.cli.conftest import Tenure

COMMAND = str(Path(sys.executable).with_name("tenure"))


def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *args], input=stdin, capture_output=True, text=True, timeout=30, check=False)


def test_help_names_every_command_and_loads_none() -> None:
    program = (
        "import sys; from tenure.cli.main import app\n"
        "try: app(['--help'], prog_name='tenure')\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'apsw', 'boto3', 'pydantic_settings', 'structlog', 'rich.live', 'tenure.v1.job_pb2'}\n"
        "print('loaded:', sorted(heavy & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "loaded: []" in result.stdout
    for name, entry in main.ENTRIES.items():
        assert f"  {name} " in result.stdout
        assert entry.help in result.stdout


@pytest.mark.parametrize("name", ["jobs", "queues", "workers", "events", "health", "version", "worker"])
def test_every_command_has_help(name: str) -> None:
    assert main.load(name) is not None


def test_a_command_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.ENTRIES, "gone", main.Entry(module="not_there", attribute="x", help="x"))
    with pytest.raises(Problem, match="not part of this installation") as caught:
        main.load("gone")
    assert caught.value.exit_code == 1


def test_a_broken_command_is_not_mistaken_for_one_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for name in [each for each in sys.modules if each.startswith("tenure.cli.") and each != "tenure.cli.main"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match="yaml"):
        main.load("jobs")


def test_exit_codes_of_the_real_command(tmp_path: Path) -> None:
    version = run("version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("tenure ")

    unreachable = run("--server", "127.0.0.1:1", "jobs", "get", "a")
    assert unreachable.returncode == 3
    assert unreachable.stdout == ""
    assert unreachable.stderr.startswith("tenure: cannot reach 127.0.0.1:1: connection refused\n")

    usage = run("jobs", "extend", "a", "soon", "--server", "127.0.0.1:1")
    assert usage.returncode == 2
    assert usage.stderr.startswith("tenure: TIME: 'soon' is not a span of time")

    wrong = run("jobs", "creat")
    assert wrong.returncode == 2
    assert "Did you mean 'create'" in wrong.stderr

    for result in (unreachable, usage, wrong):
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("address", ["nonsense", "host", "host:port", ""])
async def test_a_wrong_address_is_usage(tenure: Tenure, address: str) -> None:
    result = await tenure("--server", address or "x:", "health")
    assert result.code == 2
    assert "write HOST:PORT" in result.err


async def test_an_unexpected_error_shows_no_text_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert "RuntimeError" in shown
    assert "hunter2" not in shown
    monkeypatch.setenv("TENURE_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main.main()


async def test_global_options_stand_before_or_behind(tenure: Tenure) -> None:
    assert (await tenure("-o", "json", "version")).json["version"]
    assert (await tenure("version", "-o", "json")).json["version"]
    assert (await tenure("-o", "table", "version", "-o", "json")).json["version"]


async def test_health(tenure: Tenure) -> None:
    healthy = await tenure("health")
    assert (healthy.code, healthy.out.split(" ", 1)[1]) == (0, "is serving\n")
    assert (await tenure("health", "-o", "json")).json == {"serving": True}
    gone = await tenure("health", "--timeout", "1", address="127.0.0.1:1")
    assert gone.code == 3
