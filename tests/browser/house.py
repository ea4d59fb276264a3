"""A server with its web door and workers, all real processes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.acceptance.processes import ServerProcess, WorkerProcess, run_tenure

HTTP = re.compile(r"^tenure: http on (\S+)$", re.MULTILINE)


class House:
    """One server with two workers: `machine-a` of the queues `default` and `pair`, `machine-b` of `pair`.

    Args:
        folder: for everything they write.
    """

    def __init__(self, folder: Path) -> None:
        self.server = ServerProcess(folder, more=["--http", "127.0.0.1:0"])
        self._workers = [
            WorkerProcess("machine-a", folder, self.server, slots=4, more=["--queue", "pair"]),
            WorkerProcess("machine-b", folder, self.server, slots=4, queue="pair"),
        ]
        self.url = ""

    @property
    def token(self) -> str:
        """The administrator's token."""
        return self.server.admin_token()

    def make_token(self, role: str, subject: str) -> str:
        """Another token; its secret."""
        where = ("--server", self.server.address, "--token-file", str(self.server.token_file))
        made = run_tenure("token", "create", "--role", role, "--subject", subject, *where, env=self.server.env)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    async def open(self) -> None:
        """Start all; the server is ready afterwards."""
        await self.server.up()
        self.url = f"http://{(await self.server.says(HTTP))[1]}"
        for worker in self._workers:
            worker.start()

    def close(self) -> None:
        """End all."""
        for worker in self._workers:
            worker.close()
        self.server.close()
