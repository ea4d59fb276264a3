"""All machines that ask for work over HTTP, and the task that carries their streams."""

from __future__ import annotations

import hashlib

from google.rpc import code_pb2

from tenure.runtime.calls import Channel, Metadata
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.web.conversation import Conversation
from tenure.web.failures import unacceptable
from tenure.web.machine import Machine, Records

MAX_MACHINES = 10_000
# A machine that holds nothing and has not asked for so long has gone.
IDLE_NS = 60_000_000_000
# So has one that seems to hold something: the longest lease lasts two hours and is given that once more when many run
# out at once, so it has lost what it held, and was not told when its stream had ended before.
LOST_NS = 4 * 3600 * 1_000_000_000 + IDLE_NS
SWEEP_S = 30.0


class Machines:
    """All machines that ask over HTTP."""

    def __init__(self, *, channel: Channel, records: Records, clock: Clock, incarnation: str) -> None:
        self._channel = channel
        self._records = records
        self._clock = clock
        self._incarnation = incarnation
        self._machines: dict[tuple[bytes, str], Machine] = {}
        self._group: TaskGroup | None = None

    async def run(self) -> None:
        """Carry the streams, until cancelled."""
        async with TaskGroup() as group:
            self._group = group
            try:
                while True:
                    await self._clock.sleep(SWEEP_S)
                    await self._sweep()
            finally:
                self._group = None

    async def machine(self, metadata: Metadata, machine_id: str, queue: str) -> Machine:
        """The machine of that id that comes with this token.

        Raises:
            CallFailed: too many machines, or it runs jobs of another queue.
        """
        key = _key(metadata, machine_id)
        machine = self._machines.get(key)
        if machine is not None and machine.queue != queue:
            if machine.busy:
                text = f"machine {machine_id} still runs a job of another container group"
                raise unacceptable(code_pb2.FAILED_PRECONDITION, "QUEUE_NOT_ALLOWED", text, http_code=409)
            await machine.close()
            machine = None
        if machine is None:
            if len(self._machines) >= MAX_MACHINES:
                raise unacceptable(code_pb2.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", "too many machines; try again later")
            machine = self._machines[key] = Machine(
                channel=self._channel,
                records=self._records,
                clock=self._clock,
                spawn=self._carry,
                machine_id=machine_id,
                queue=queue,
                metadata=metadata,
                incarnation=self._incarnation,
            )
        return machine

    def _carry(self, conversation: Conversation) -> None:
        if self._group is None:
            raise unacceptable(code_pb2.UNAVAILABLE, "DRAINING", "the server is stopping; try again in a moment")
        self._group.create_task(conversation.run())

    async def _sweep(self) -> None:
        """Let go of machines that have gone."""
        now_ns = self._clock.monotonic_ns()
        for key, machine in list(self._machines.items()):
            patience_ns = LOST_NS if machine.held else IDLE_NS
            if not machine.asking and machine.used_ns <= now_ns - patience_ns:
                del self._machines[key]
                await machine.close()


def _key(metadata: Metadata, machine_id: str) -> tuple[bytes, str]:
    secret = next((value for key, value in metadata if key == "authorization"), "")
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest(), machine_id
