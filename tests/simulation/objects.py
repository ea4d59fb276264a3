"""A simulated object store, and the sync of an attempt over it.

The real retry, write gate and counters run; files are entries of a dictionary. A write is in the store the moment it
arrives there, and its writer is told a little later, or never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tenure.agent.assignment import Assignment
from tenure.agent.copying import Copying, to_message
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.objects import ObjectRefused, StoreUnreachable
from tenure.agent.sync.retry import Retry, SyncRefused, SyncUnreachable
from tenure.agent.waiting import settle
from tenure.agent.workdir import AttemptFolder
from tenure.runtime.clock import Clock
from tenure.v1 import job_pb2
from tests.simulation.history import StoreWrite
from tests.simulation.loop import NS

if TYPE_CHECKING:
    from tests.simulation.agent import Agent
    from tests.simulation.work import Folder

# What a request needs at the least; as the product's stores ask for.
AT_LEAST_S = 0.5
QUIET_S = 0.2


class Objects:
    """The store.

    Attributes:
        reachable: it answers.
        refusing: it answers, with no.
        slow: requests take so many times as long.
    """

    def __init__(self, random: Random) -> None:
        self.content: dict[str, str] = {}
        self.times: dict[str, list[tuple[int, str]]] = {}
        self.reachable = True
        self.refusing = False
        self.slow = 1.0
        self._random = random

    def wait_s(self) -> float:
        """How long the next part of a request takes."""
        return self.slow * self._random.uniform(0.01, 0.1)

    def look(self) -> None:
        """What a request that arrives meets.

        Raises:
            StoreUnreachable, ObjectRefused.
        """
        if not self.reachable:
            raise StoreUnreachable("connection timed out")
        if self.refusing:
            raise ObjectRefused("access denied")

    def put(self, now_ns: int, key: str, content: str) -> None:
        """An object is there."""
        self.content[key] = content
        self.times.setdefault(key, []).append((now_ns, content))


class Sync:
    """The sync of one attempt; see `tenure.agent.copying.Copying`."""

    def __init__(
        self,
        agent: Agent,
        assignment: Assignment,
        folder: Folder,
        gate: WriteGate,
        deadline_ns: Callable[[], int | None],
    ) -> None:
        self.counters = Counters()
        self.inputs_complete = False
        self.writes: list[StoreWrite] = []
        self._agent = agent
        self._objects = agent.world.objects
        self._rules = assignment.sync
        self._folder = folder
        self._gate = gate
        self._clock: Clock = agent.clock
        self._retry = Retry(
            clock=agent.clock,
            random=agent.random,
            budget_s=assignment.sync_retry_budget_ns / NS,
            deadline_ns=deadline_ns,
            counters=self.counters,
        )
        self._stored: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._finishing = False

    async def before(self) -> None:
        """Copy all input."""
        for rule in self._rules.before:
            await self._retry.run(lambda rule=rule: self._get(rule))  # type: ignore[misc]
        self.inputs_complete = True

    async def start_during(self) -> None:
        """Begin to upload what changes."""
        if self._rules.during and self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def wait_failed(self) -> Exception:
        """Why the uploads have given up."""
        if self._task is not None and not self._finishing:
            await asyncio.wait((self._task,))
            if not self._finishing and not self._task.cancelled():
                error = self._task.exception()
                if isinstance(error, Exception):
                    return error
        await asyncio.Event().wait()
        raise AssertionError

    async def finish_during(self) -> None:
        """Upload what changed last."""
        self._finishing = True
        if self._task is not None:
            failed = self._task.done() and not self._task.cancelled() and self._task.exception() is not None
            if failed:
                self._task.result()
            await settle(self._task)
        await self._upload(self._rules.during)

    async def after(self) -> None:
        """Upload the output."""
        await self._upload(self._rules.after)

    async def close(self) -> None:
        """End everything that still runs."""
        self._finishing = True
        if self._task is not None:
            await settle(self._task)

    async def clean(self) -> None:
        """There are no absolute folders."""

    async def _follow(self) -> None:
        while True:
            await self._folder.changed.wait()
            self._folder.changed.clear()
            await self._clock.sleep(QUIET_S)
            await self._upload(self._rules.during)

    async def _upload(self, rules: object) -> None:
        again = True
        while again:
            again = False
            for rule in rules:  # type: ignore[attr-defined]
                for name in sorted(self._folder.files):
                    if not name.startswith(rule.local_path + "/"):
                        continue
                    key = rule.prefix + name.removeprefix(rule.local_path + "/")
                    while self._stored.get(key) != self._folder.files[name]:
                        await self._retry.run(lambda key=key, name=name: self._put(key, name))  # type: ignore[misc]
                        again = True

    async def _get(self, rule: job_pb2.SyncRule) -> None:
        await self._clock.sleep(self._objects.wait_s())
        self._objects.look()
        for key in sorted(self._objects.content):
            if key.startswith(rule.prefix):
                content = self._objects.content[key]
                self._folder.files[f"{rule.local_path}/{key.removeprefix(rule.prefix)}"] = content
                self._stored[key] = content
                self.counters.files_downloaded += 1
                self.counters.bytes_downloaded += len(content)

    async def _put(self, key: str, name: str) -> None:
        until_ns = await self._gate.enter(AT_LEAST_S)
        schedule = self._agent.world.schedule
        content = self._folder.files[name]
        now_ns = self._clock.monotonic_ns()
        write = StoreWrite(begun_ns=schedule.now_ns, key=key, content=content, lease_ns_left=until_ns - now_ns)
        self.writes.append(write)
        left_s = (until_ns - now_ns) / NS
        there_s = self._objects.wait_s()
        await self._clock.sleep(min(there_s, left_s))
        if there_s >= left_s or self._clock.monotonic_ns() >= until_ns:
            # The request is dropped when the right to write is over.
            raise StoreUnreachable("no answer in time")
        self._objects.look()
        self._objects.put(schedule.now_ns, key, content)
        write.ended_ns = schedule.now_ns
        back_s = self._objects.wait_s()
        await self._clock.sleep(back_s)
        if not self._objects.reachable:
            raise StoreUnreachable("connection reset")
        write.acknowledged = True
        self._stored[key] = content
        self.counters.files_uploaded += 1
        self.counters.bytes_uploaded += len(content)


def copying_of(agent: Agent) -> Callable[..., tuple[Copying, Callable[[], job_pb2.SyncCounters]]]:
    """See `tenure.agent.copying.CopyingFactory`."""

    def make(
        assignment: Assignment, folder: AttemptFolder, gate: WriteGate, deadline_ns: Callable[[], int | None]
    ) -> tuple[Copying, Callable[[], job_pb2.SyncCounters]]:
        sync = Sync(agent, assignment, agent.folder_of(folder), gate, deadline_ns)
        agent.prepared(assignment, sync)
        return sync, lambda: to_message(sync.counters)

    return make


__all__ = ["Objects", "Sync", "SyncRefused", "SyncUnreachable", "copying_of"]
