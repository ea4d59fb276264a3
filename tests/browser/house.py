"""A server with its web door and a worker, all real processes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.acceptance.processes import ServerProcess, WorkerProcess

HTTP = re.compile(r"^tenure: http on (\S+)$", re.MULTILINE)


class House:
    """One server and its worker `machine-a` of the queue `default`.

    Args:
        folder: for everything they write.
    """

    def __init__(self, folder: Path) -> None:
        self.server = ServerProcess(folder, more=["--http", "127.0.0.1:0"])
        self.worker = WorkerProcess("machine-a", folder, self.server, slots=4)
        self.url = ""

    @property
    def token(self) -> str:
        """The administrator's token."""
        return self.server.admin_token()

    async def open(self) -> None:
        """Start both; the server is ready afterwards."""
        await self.server.up()
        self.url = f"http://{(await self.server.says(HTTP))[1]}"
        self.worker.start()

    def close(self) -> None:
        """End both."""
        self.worker.close()
        self.server.close()
