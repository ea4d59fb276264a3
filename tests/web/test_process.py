"""`tenure serve --http` as a real process: its second line, its end, traces, and why it cannot start."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tenure.web.serving import bind
from tests.cli.test_serve import PATIENCE_S, Server, serving

pytestmark = pytest.mark.processes

LINE = "tenure: http on "
TLS = Path(__file__).parent.parent / "data" / "tls"


def addresses(server: Server) -> tuple[str, str]:
    """Where it listens, for gRPC and for HTTP."""
    grpc_address = server.address()
    line = server.line()
    assert line.startswith(LINE), line
    return grpc_address, f"http://{line.removeprefix(LINE).strip()}"


def test_it_serves_both_and_ends_well_with_a_reader(tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ("--store", f"sqlite://{data}", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    with serving(*arguments, state=tmp_path) as server:
        _, url = addresses(server)
        headers = {"authorization": f"Bearer {(data / 'admin.token').read_text().strip()}"}
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
            assert client.get("/readyz").text == "ready\n"
            body = {"items": [{"specification": {"command": "true"}}]}
            job_id = client.post("/v1/jobs", json=body).json()["responses"][0]["id"]
            with client.stream("GET", "/v1/jobs:watch") as response:
                lines = response.iter_lines()
                assert job_id in next(lines)
                server.process.send_signal(signal.SIGTERM)
                assert "DRAINING" in list(lines)[-1]
        code, out, err = server.ended()
        assert (code, out) == (0, ""), err
        assert headers["authorization"][7:] not in err


def test_without_the_option_there_is_no_second_line(tmp_path: Path) -> None:
    with serving("--store", "memory:", "--listen", "127.0.0.1:0", state=tmp_path) as server:
        server.address()
        code, out, _ = server.end()
        assert (code, out) == (0, "")


def test_traces_by_the_standard_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with serving("--store", "memory:", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", state=tmp_path) as server:
        _, url = addresses(server)
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        assert httpx.get(f"{url}/v1/jobs", headers=headers, trust_env=False).status_code == 401
        code, out, err = server.end()
        assert code == 0, err
        assert trace in out
        assert '"rpc.method": "BrowseJobs"' in out


@pytest.mark.parametrize(
    ("arguments", "expected", "text"),
    [
        (["--http", "here"], 2, "write HOST:PORT"),
        (["--http", "0.0.0.0:0"], 2, "--insecure"),
        (["--http", "192.0.2.1:0", "--insecure"], 1, "not one of this machine"),
    ],
)
def test_it_says_why_it_cannot_start(tmp_path: Path, arguments: list[str], expected: int, text: str) -> None:
    with serving("--store", "memory:", "--listen", "127.0.0.1:0", *arguments, state=tmp_path) as server:
        code, out, err = server.ended()
    assert (code, out) == (expected, "")
    assert text in err
    assert "Traceback" not in err


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving("--store", "memory:", "--listen", "127.0.0.1:0", "--http", address, state=tmp_path) as server:
            code, _, err = server.ended()
    assert code == 1
    assert "the port is taken" in err


@pytest.mark.parametrize("http", [[], ["--http", "127.0.0.1:0"]])
@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        (None, "cannot read "),
        ((TLS / "second.pem").read_text(), "is not the key of"),
        ("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", "cannot be used"),
    ],
    ids=["missing", "another's", "nonsense"],
)
def test_a_certificate_that_cannot_be_used_is_one_line(
    tmp_path: Path, http: list[str], certificate: str | None, text: str
) -> None:
    if certificate is not None:
        (tmp_path / "server.pem").write_text(certificate)
    shutil.copy(TLS / "first.key", tmp_path / "server.key")
    encrypted = ("--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key"))
    store = ("--store", f"sqlite://{tmp_path / 'data'}", "--listen", "127.0.0.1:0")
    with serving(*store, *encrypted, *http, state=tmp_path) as server:
        code, out, err = server.ended()
    assert (code, out) == (1, "")
    assert text in err
    assert len(err.splitlines()) == 1, err
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")
def test_a_certificate_that_only_one_of_the_ports_would_take_is_one_line(tmp_path: Path) -> None:
    """gRPC serves with a key of 1024 bits, HTTPS does not: it came out when the server served already."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run(
        [*made, "-keyout", "weak.key", "-out", "weak.pem"], cwd=tmp_path, check=True, capture_output=True, timeout=30
    )
    encrypted = ("--tls-cert", str(tmp_path / "weak.pem"), "--tls-key", str(tmp_path / "weak.key"))
    addresses = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    with serving("--store", "memory:", *addresses, *encrypted, state=tmp_path) as server:
        code, out, err = server.ended()
    assert (code, out) == (1, "")
    assert "is too weak" in err
    assert len(err.splitlines()) == 1, err
