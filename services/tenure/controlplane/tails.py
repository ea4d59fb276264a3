"""The last of what ended attempts printed, on its way from their workers' reports into the store.

Nobody waits for it: a report is acknowledged when its outcome is durable, and what it brought of the output is written
a moment later. A crash in between loses it, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from tenure.domain.job import Lease
from tenure.runtime.logs import get_logger
from tenure.store.outputs import KEPT_BYTES, KeptOutput
from tenure.store.store import CommitOutcomeUnknown, Store, StoreError

log = get_logger("output")

# Ended attempts that are remembered, until the last word of their worker has come and for a while after.
REMEMBERED = 10_000
# Bytes that may wait to be written, and that are written in one transaction.
WAITING_BYTES = 16 * 1024 * 1024
BATCH_BYTES = 1024 * 1024

Key = tuple[str, int]


class Tails:
    """What is kept of the outputs of ended attempts. A key is a job's id and the number of an attempt."""

    def __init__(self, store: Store) -> None:
        self._outputs = store.outputs
        self._ended: OrderedDict[str, tuple[Key, str]] = OrderedDict()
        self._final: OrderedDict[Key, None] = OrderedDict()
        self._waiting: OrderedDict[Key, KeptOutput] = OrderedDict()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def ended(self, job_id: str, lease: Lease) -> None:
        """An attempt is over; its worker may still report what it printed."""
        self._ended[lease.lease_id] = (job_id, lease.attempt), lease.worker_id
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def report(self, worker_id: str, lease_id: str, offset: int, data: bytes) -> Key | None:
        """The last word of a worker on an attempt that is over; None: it is not known to be, or not this worker's."""
        key, owner = self._ended.get(lease_id, (None, ""))
        if key is None or owner != worker_id:
            return None
        self._final[key] = None
        while len(self._final) > REMEMBERED:
            self._final.popitem(last=False)
        if data:
            self._put(key, KeptOutput(job_id=key[0], attempt=key[1], offset=offset, data=data[-KEPT_BYTES:]))
        return key

    def final(self, job_id: str, attempt: int) -> bool:
        """The worker's last word on the attempt was heard: there will be no other output than `find` gives."""
        return (job_id, attempt) in self._final

    async def find(self, job_id: str, attempt: int) -> KeptOutput | None:
        """What is kept of an attempt.

        Raises:
            StoreError: it cannot be read.
        """
        return self._waiting.get((job_id, attempt)) or await self._outputs.find(job_id, attempt)

    async def run(self) -> None:
        """Write what waits, for ever.

        Raises:
            CommitOutcomeUnknown: the process is to end.
        """
        while True:
            await self._filled.wait()
            batch: list[KeptOutput] = []
            size = 0
            for output in self._waiting.values():
                batch.append(output)
                size += len(output.data)
                if size >= BATCH_BYTES:
                    break
            await self._write(batch)

    async def written(self) -> None:
        """Return when nothing waits."""
        await self._written.wait()

    def _put(self, key: Key, output: KeptOutput) -> None:
        self._drop(key)
        if self._bytes + len(output.data) > WAITING_BYTES:
            log.warning("output_dropped", job_id=key[0], attempt=key[1], why="too much waits to be written")
            return
        self._waiting[key] = output
        self._bytes += len(output.data)
        self._filled.set()
        self._written.clear()

    def _drop(self, key: Key) -> None:
        known = self._waiting.pop(key, None)
        if known is not None:
            self._bytes -= len(known.data)
        if not self._waiting:
            self._filled.clear()
            self._written.set()

    async def _write(self, batch: list[KeptOutput]) -> None:
        try:
            await self._outputs.keep(batch)
        except CommitOutcomeUnknown:
            raise
        except StoreError as error:
            log.warning("output_dropped", outputs=len(batch), error=type(error).__name__)
        for output in batch:
            key = output.job_id, output.attempt
            if self._waiting.get(key) is output:
                self._drop(key)
