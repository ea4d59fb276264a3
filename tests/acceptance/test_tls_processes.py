"""TLS between real processes: a server with a certificate, a worker and commands that trust it or do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.processes import ServerProcess, WorkerProcess, run_tenure

pytestmark = pytest.mark.processes

TLS = Path(__file__).parents[1] / "data" / "tls"
AUTHORITY = str(TLS / "authority.pem")
TRUSTING = ("--tls-ca", AUTHORITY)
# Empty: as if gRPC had not been given authorities of its own.
TRUSTED = {"SSL_CERT_FILE": AUTHORITY, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": ""}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    files = ("--tls-cert", str(TLS / "first.pem"), "--tls-key", str(TLS / "first.key"))
    running = ServerProcess(tmp_path_factory.mktemp("tls"), more=files)
    try:
        await running.up()
        yield running
    finally:
        running.close()


async def test_a_job_from_its_submission_to_its_end(server: ServerProcess, tmp_path: Path) -> None:
    worker = WorkerProcess("w", tmp_path, server, more=TRUSTING)
    try:
        worker.start()
        await worker.says(r"tenure: worker \S+ connected")
        # The token of this machine's server is found as without TLS.
        given = ("--server", server.address, *TRUSTING)
        created = run_tenure(*given, "jobs", "create", "--queue", "default", "--", "true", env=server.env)
        assert created.returncode == 0, created
        watched = run_tenure(*given, "jobs", "watch", created.stdout.strip(), env=server.env)
        assert (watched.returncode, "Your job has completed successfully!" in watched.stdout) == (0, True), watched
        variables = server.env | {"TENURE_SERVER": server.address, "TENURE_TLS_CA": str(TLS / "authority.pem")}
        health = run_tenure("health", env=variables)
        assert (health.returncode, health.stderr) == (0, "")
        verified = run_tenure("log", "verify", "--store", server.store_url, env=variables)
        assert (verified.returncode, f"verified by {server.address}" in verified.stdout) == (0, True), verified
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("trust", "words"),
    [
        ((), "it hung up at once (does it want TLS?"),
        (("--tls",), "the encrypted connection could not be made (is --tls-ca right"),
    ],
)
def test_who_does_not_trust_it_is_told_in_words(server: ServerProcess, trust: tuple[str, ...], words: str) -> None:
    refused = run_tenure("--server", server.address, *trust, "jobs", "list", env=server.env)
    assert refused.returncode == 3
    first, *rest = refused.stderr.splitlines()
    assert first.startswith(f"tenure: cannot reach {server.address}: {words}")
    assert [line for line in rest if not line.startswith("  → ")] == []  # and nothing of what the transport writes


async def test_an_authority_of_the_machine_is_trusted(server: ServerProcess, tmp_path: Path) -> None:
    listed = run_tenure("--server", server.address, "--tls", "jobs", "list", env=server.env | TRUSTED)
    assert (listed.returncode, listed.stderr) == (0, "")
    worker = WorkerProcess("insider", tmp_path, server, more=("--tls",), env=TRUSTED)
    try:
        worker.start()
        await worker.says(r"tenure: worker \S+ connected")
    finally:
        worker.close()


async def test_a_worker_that_does_not_trust_it_says_so_and_goes_on_trying(
    server: ServerProcess, tmp_path: Path
) -> None:
    worker = WorkerProcess("stranger", tmp_path, server, more=("--tls",))
    try:
        worker.start()
        await worker.says("CERTIFICATE_VERIFY_FAILED")
        assert worker.running
        assert "ssl_transport_security.cc" not in worker.output()
    finally:
        worker.close()
    assert "ssl_transport_security.cc" not in server.output()
