"""A worker that holds one running job and beats for it, whatever becomes of the server's disk."""

from __future__ import annotations

import asyncio
import contextlib
import time

from tenure.v1 import job_pb2, worker_service_pb2
from tests.acceptance.callers import Caller, duration
from tests.acceptance.scripted_worker import HELD, ScriptedWorker

QUEUE = "watched"
# The shortest there is: a lease is two of them.
INTERVAL_S = 1.0
LEASE_S = 2 * INTERVAL_S
BEAT_S = 0.3


class Beating:
    """The worker. It runs `job_id`; `beats` is how often it was answered, `lost` the answers that took the lease."""

    def __init__(self, address: str, token: str) -> None:
        self.beats = 0
        self.lost: list[str] = []
        self.job_id = ""
        self._user = Caller(address, token)
        self._worker = ScriptedWorker(address, token, "beating", lambda: time.time_ns() // 1000, queues=[QUEUE])
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take a job, start it, and beat from now on."""
        await self._worker.connect()
        self.job_id = await self._user.create(
            job_pb2.JobSpecification(
                command="true", queue=QUEUE, time_allocation=duration(3600), heartbeat_interval=duration(INTERVAL_S)
            )
        )
        assignment = await self._worker.run()
        self._task = asyncio.get_running_loop().create_task(self._beat(assignment))

    async def state(self) -> job_pb2.JobState.ValueType:
        """The job's state as its owner sees it."""
        return (await self._user.job(self.job_id)).status.state

    async def close(self) -> None:
        """Leave, without a word to the server."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._worker.close()
        await self._user.close()

    async def _beat(self, assignment: worker_service_pb2.Assignment) -> None:
        try:
            while True:
                answer = await self._worker.beat(assignment)
                if answer.state == HELD:
                    self.beats += 1
                else:
                    self.lost.append(str(answer))
                    return
                await asyncio.sleep(BEAT_S)
        except Exception as error:
            self.lost.append(f"{type(error).__name__}: {error}")
