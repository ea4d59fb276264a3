"""How a world ends: the faults are over, everything that was begun comes to its own end, everybody leaves."""

# Time is virtual here: looking again after a while costs nothing and cannot be too slow.
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tenure.domain.states import Phase
from tests.simulation.loop import NS
from tests.simulation.server import QUEUES
from tests.simulation.wishes import Wishes

if TYPE_CHECKING:
    from tests.simulation.world import World

# How long after the faults everything may take to come to its end, and what is told then to be told.
LIVENESS_NS = 1500 * NS
REST_NS = 32 * NS
ARRIVE_S = 2.0


class Ending:
    """The end of one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def heal(self) -> None:
        """From now on nothing goes wrong any more."""
        self._world.faults.heal()
        self._world.healed = True
        self._world.network.off = False
        self._world.medium.slow_s = (0.0005, 0.01)
        self._world.medium.read_s = 0.0
        for link in self._world.network.links.values():
            link.calm()
        self._world.history.healed_ns = self._world.schedule.now_ns
        self._world.trace("world", "is healed")
        caller, wishes = self._world.callers[0], self._world.wishes[0]
        caller.process.call_soon(lambda: caller.process.create_task(self._resume(wishes), name="resume"))

    async def _resume(self, wishes: Wishes) -> None:
        """Queues that somebody has paused go on; then wait until there is nothing more to do."""
        while self._world.wishing:  # the last calls may pause a queue, or make a job
            await asyncio.sleep(1.0)
        for name in QUEUES if self._world.plan.pauses else ():
            while not await wishes.pause(name, paused=False):
                await asyncio.sleep(1.0)
        # What a client has given up may still be on its way to a server that was paused.
        await asyncio.sleep(ARRIVE_S)
        end_ns = self._world.schedule.now_ns + LIVENESS_NS
        while self._world.schedule.now_ns < end_ns and not self._all_final():
            await asyncio.sleep(2.0)
        await wishes.explain([job_id for job_id, phase in self._phases().items() if phase is not Phase.FINAL])
        await asyncio.sleep(REST_NS / NS)
        self._world.look()
        self._world.nature.call_soon(self._close)

    def _phases(self) -> dict[str, Phase]:
        server = self._world.server
        if server is None or server.store is None:
            return {}
        return {job_id: row.stored.job.phase for job_id, row in server.store._rows.jobs.items()}

    def _all_final(self) -> bool:
        if self._world.server is None or not self._world.server.serving:
            return False
        # What a client has given up may still be on its way to the disk.
        if self._world.server.store is None or not self._world.server.store.idle:
            return False
        return all(phase is Phase.FINAL for phase in self._phases().values())

    def _close(self) -> None:
        """Have everybody end in good order."""
        self._world.closing = True
        self._world.trace("world", "closes")
        for pending in list(self._world.open_watches):
            pending.connection.client.call_soon(pending.close)
        for agent in self._world.agents:
            if agent is not None:
                agent.drain("the world ends", release=True)
        self._world.nature.at_virtual(self._world.schedule.now_ns + 2 * NS, self._stop_server, 0)

    def _stop_server(self, tries: int) -> None:
        if any(agent is not None for agent in self._world.agents) and tries < 60:
            self._world.nature.at_virtual(self._world.schedule.now_ns + NS, self._stop_server, tries + 1)
            return
        if self._world.server is not None:
            self._world.server.stop()
        self._world.nature.at_virtual(self._world.schedule.now_ns + 15 * NS, self._finish)

    def _finish(self) -> None:
        for agent in self._world.agents:
            if agent is not None:
                self._world.history.leftovers.append(f"{agent.incarnation} has not ended")
                self._world.agent_over(agent, "end", silently=False)
        if self._world.server is not None:
            self._world.history.leftovers.append(f"{self._world.server.process.name} has not ended")
            self._world.server_ended(self._world.server, "end")
        for caller in self._world.callers:
            self._world.history.leftovers.extend(self._world.left(caller.process))
            self._world.history.errors.extend(caller.process.errors)
        self._world.history.errors.extend(self._world.nature.errors)
        self._world.over = True
