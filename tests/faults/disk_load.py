"""Clients that do not give up: each asks for jobs and repeats a request, with its id, until it is acknowledged.

Refusals and lost answers are part of the story here, so they are counted and not complained about.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable

import grpc

from tenure.events.v1 import event_pb2
from tests.acceptance.callers import Caller, refusal
from tests.acceptance.mixed_load import specification

BULK = 5
RETRY_S = 0.02


class Submitters:
    """Clients of one server; `acknowledged` are the jobs of each request id, with the instant of the answer.

    `refused` counts refusals as (code, reason); `calm` is set with every acknowledgement.
    """

    def __init__(self, address: str, token: str, *, count: int = 4) -> None:
        self.acknowledged: dict[str, tuple[float, list[str]]] = {}
        self.pending: dict[str, int] = {}
        self.refused: Counter[tuple[str, str]] = Counter()
        self.calm = asyncio.Event()
        self._caller = Caller(address, token)
        self._count = count
        self._number = 0
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to ask."""
        self._tasks = [asyncio.get_running_loop().create_task(self._submit()) for _ in range(self._count)]

    def start_again(self) -> None:
        """Go on after `stop`."""
        self._stopping = False
        self.start()

    async def stop(self) -> None:
        """Ask nothing new; returns when all that was asked is acknowledged."""
        self._stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Leave."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._caller.close()

    @property
    def jobs(self) -> list[str]:
        """All jobs that were acknowledged."""
        return [job_id for _, ids in self.acknowledged.values() for job_id in ids]

    async def _submit(self) -> None:
        while not self._stopping:
            self._number += 1
            request_id = f"submit-{self._number}"
            self.pending[request_id] = BULK
            acknowledged = await self._asked(request_id)
            while not acknowledged:
                await asyncio.sleep(RETRY_S)
                acknowledged = await self._asked(request_id)

    async def _asked(self, request_id: str) -> bool:
        try:
            response = await self._caller.create_many([specification()] * BULK, request_id=request_id)
        except grpc.aio.AioRpcError as error:
            self.refused[error.code().name, await _reason(error)] += 1
            return False
        ids = [item.id for item in response.responses]
        self.acknowledged[request_id] = time.time(), ids
        del self.pending[request_id]
        self.calm.set()
        return True

    def missing_in(self, events: Iterable[event_pb2.Event]) -> list[str]:
        """What the log says otherwise: an acknowledged request has made its jobs, once; another all or none."""
        made: dict[str, list[str]] = {}
        for event in events:
            if event.request_id and event.HasField("job_created"):
                made.setdefault(event.request_id, []).append(event.stream.removeprefix("job/"))
        wrong = [
            f"{request_id}: the log has {made.get(request_id, [])}, acknowledged was {ids}"
            for request_id, (_, ids) in self.acknowledged.items()
            if made.get(request_id, []) != ids
        ]
        wrong += [
            f"{request_id}: {len(made[request_id])} of {count} jobs are in the log"
            for request_id, count in self.pending.items()
            if len(made.get(request_id, [])) not in (0, count)
        ]
        return wrong


async def _reason(error: grpc.aio.AioRpcError) -> str:
    async def again() -> None:
        raise error

    try:
        return (await refusal(again())).reason
    except AssertionError:
        return ""  # the transport's own: there was no server
