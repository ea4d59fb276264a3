"""`tenure serve` as a real process: its one line, its files, its end, and how it says that it cannot start."""

from __future__ import annotations

import logging
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2, status_pb2

from tenure.cli import serve
from tenure.cli.local_token import find_local_token
from tenure.runtime import logs
from tenure.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

pytestmark = pytest.mark.processes

PATIENCE_S = 30.0
LINE = "tenure: listening on "


class Server:
    """A process, and what it has printed so far."""

    def __init__(self, arguments: list[str], state: Path, before: tuple[str, ...] = ()) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
        environment["XDG_STATE_HOME"] = str(state)
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "tenure.cli.main", "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )

    def address(self) -> str:
        """Where it listens, once it does."""
        line = self.line()
        assert line.startswith(LINE), line
        return line.removeprefix(LINE).strip()

    def line(self) -> str:
        """The next line of standard output."""
        assert self.process.stdout is not None
        end, text = time.monotonic() + PATIENCE_S, b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"nothing for {PATIENCE_S} s"
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                break
            text += byte
        return text.decode()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit code and the rest of both outputs after a signal."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        """Exit code and the rest of both outputs, once it ends by itself."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out.decode(), err.decode()


@contextmanager
def serving(*arguments: str, state: Path, before: tuple[str, ...] = ()) -> Iterator[Server]:
    server = Server(list(arguments), state, before)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()


def create(address: str, token: str) -> str:
    with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        item = job_service_pb2.CreateJobsRequest.Item(specification=job_pb2.JobSpecification(command="true"))
        response = job_service_pb2_grpc.JobServiceStub(channel).CreateJobs(
            job_service_pb2.CreateJobsRequest(items=[item]),
            metadata=(("authorization", f"Bearer {token}"),),
            timeout=PATIENCE_S,
        )
        return response.responses[0].id


def jobs(address: str, token: str) -> list[str]:
    with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        response = job_service_pb2_grpc.JobServiceStub(channel).BrowseJobs(
            job_service_pb2.BrowseJobsRequest(),
            metadata=(("authorization", f"Bearer {token}"),),
            timeout=PATIENCE_S,
        )
        return [job.id for job in response.jobs]


def test_it_serves_says_where_and_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = tmp_path / "data"
    store = f"sqlite://{data}"
    with serving("--store", store, "--listen", "127.0.0.1:0", state=tmp_path / "state") as server:
        address = server.address()
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        token = (data / "admin.token").read_text().strip()
        assert find_local_token(address) == token
        made = create(address, token)
        code, out, err = server.end()
        assert (code, out) == (0, ""), err
        assert token not in err
    assert find_local_token(address) is None
    with serving("--store", store, "--listen", address, state=tmp_path / "state") as server:
        assert server.address() == address
        assert jobs(address, token) == [made]
        assert server.end(signal.SIGINT)[0] == 0


def test_it_ends_soon_with_a_watcher_and_tells_it_why(tmp_path: Path) -> None:
    with serving("--store", f"sqlite://{tmp_path / 'data'}", "--listen", "127.0.0.1:0", state=tmp_path) as server:
        address = server.address()
        token = (tmp_path / "data" / "admin.token").read_text().strip()
        with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            watch = job_service_pb2_grpc.JobServiceStub(channel).WatchJobs(
                job_service_pb2.WatchJobsRequest(), metadata=(("authorization", f"Bearer {token}"),), timeout=60
            )
            next(watch)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.RpcError) as ended:
                for _ in watch:
                    pass
            trailers: Any = ended.value.trailing_metadata()
            (raw,) = (value for key, value in trailers if key == "grpc-status-details-bin")
            status = status_pb2.Status.FromString(raw)
            info = error_details_pb2.ErrorInfo()
            status.details[0].Unpack(info)
            assert info.reason == "DRAINING"
        assert server.ended()[0] == 0


def test_a_store_in_memory_is_found_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving("--store", "memory:", "--listen", "127.0.0.1:0", state=tmp_path / "state") as server:
        address = server.address()
        token = find_local_token(address)
        assert token is not None
        create(address, token)
        assert server.end()[0] == 0
    assert find_local_token(address) is None


def test_a_killed_server_has_kept_what_it_acknowledged(tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path / 'data'}"
    with serving("--store", store, "--listen", "127.0.0.1:0", state=tmp_path) as server:
        address = server.address()
        token = (tmp_path / "data" / "admin.token").read_text().strip()
        made = [create(address, token) for _ in range(3)]
        server.end(signal.SIGKILL)
    with serving("--store", store, "--listen", "127.0.0.1:0", state=tmp_path) as server:
        assert sorted(jobs(server.address(), token)) == sorted(made)
        server.end()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--store", "mysql://x"], 2, "is not a kind of store"),
        (["--store", "memory:", "--listen", "here"], 2, "write HOST:PORT"),
        (["--store", "memory:", "--listen", "0.0.0.0:0"], 2, "--insecure"),
        (["--store", "memory:", "--listen", "192.0.2.1:0", "--insecure"], 1, "not one of this machine"),
        (["--store", "memory:", "--tls-cert", "x.pem"], 2, "--tls-cert and --tls-key together"),
        (["--store", "memory:", "--config", "/nowhere/tenure.toml"], 2, "/nowhere/tenure.toml: No such file"),
        (["--store", "memory:", "--max-workers", "0"], 2, "--max-workers"),
    ],
)
def test_it_says_why_it_cannot_start(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    with serving(*arguments, state=tmp_path) as server:
        ended, out, err = server.ended()
    assert (ended, out) == (code, "")
    assert text in err
    assert "Traceback" not in err


def test_every_mistake_of_the_configuration_is_a_line(tmp_path: Path) -> None:
    config = tmp_path / "tenure.toml"
    config.write_text("exmaple = true\n[queues.gpu]\nbasis = 'never'\n")
    with serving("--store", "memory:", "--config", str(config), state=tmp_path) as server:
        code, _, err = server.ended()
    assert code == 2
    assert "exmaple: there is no such key" in err
    assert "[queues.gpu] basis: write" in err


def test_every_option_names_its_variable() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tenure.cli.main", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    ).stdout
    for name in [
        "STORE",
        "LISTEN",
        "CONFIG",
        "MAX_WORKERS",
        "REFLECTION",
        "TLS_CERT",
        "TLS_KEY",
        "INSECURE",
        "LOG_LEVEL",
        "LOG_FORMAT",
    ]:
        assert f"TENURE_{name}" in shown


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Logging is of the process: put back what a test changes."""
    configuration, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        structlog.configure(**configuration)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


UNHEARD = ("sh", "-c", 'exec "$@" > /dev/full 2> /dev/full', "sh")


def test_a_server_whose_words_nobody_can_hear_serves(tmp_path: Path) -> None:
    servers = tmp_path / "tenure" / "servers"
    with serving(
        "--store", f"sqlite://{tmp_path}/data", "--listen", "127.0.0.1:0", state=tmp_path, before=UNHEARD
    ) as made:
        end = time.monotonic() + PATIENCE_S
        while not list(servers.glob("127.0.0.1_*")):
            assert made.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        assert made.end() == (0, "", "")


def test_a_store_that_failed_ends_the_process_also_where_that_cannot_be_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The log may lie on the same disk, or in a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with logging_as_before(), open("/dev/full", "w") as full, open(writer, "w") as stuck:
        for stream in (full, stuck):
            logs.configure("info", "json", stream)
            serve._store_failed(OSError("the disk is gone"))
        os.close(reader)  # so that who waits there to write gets an error
    assert codes == [serve.EXIT_STORE_FAILED] * 2
