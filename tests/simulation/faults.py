"""Faults as they are put into a world: when each begins, what it does, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.coverage import states
from tests.simulation.disk import slow
from tests.simulation.history import Fault, Span
from tests.simulation.loop import NS
from tests.simulation.machine import Machine
from tests.simulation.plan import STEPS, PlannedFault
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.agent import Agent
    from tests.simulation.network import Link
    from tests.simulation.world import World

Undo = Callable[[], None]


class Faults:
    """All faults of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Faults that still last, with how each is undone.
        self._open: dict[int, tuple[Fault, Undo]] = {}
        self._count = 0
        # How slow the disk is usually, and then by each fault that lasts.
        self._slow: list[tuple[float, float]] = []

    def plan(self, faults: tuple[PlannedFault, ...]) -> None:
        """Have them come at their times."""
        for fault in faults:
            self._world.nature.at_virtual(fault.begin_ns, self._begin, fault)

    def heal(self) -> None:
        """End all of them."""
        for number in list(self._open):
            self._end(number)

    def _begin(self, planned: PlannedFault) -> None:
        world = self._world
        if world.healed:
            return
        fault = Fault(kind=planned.kind, who="", begin_ns=world.schedule.now_ns)
        met = states(world)  # before it changes them
        undo = self._do(planned, fault)
        if undo is None:
            return
        world.history.faults.append(fault)
        world.trace("fault", f"{fault.kind} {fault.who} {fault.note} for {planned.length_ns / NS:.3f} s")
        for state in met:
            world.coverage[f"{fault.kind} × {state}"] += 1
        self._count += 1
        number = self._count
        self._open[number] = fault, undo
        world.nature.at_virtual(world.schedule.now_ns + planned.length_ns, self._end, number)

    def _end(self, number: int) -> None:
        found = self._open.pop(number, None)
        if found is None:
            return
        fault, undo = found
        fault.end_ns = self._world.schedule.now_ns
        undo()
        if fault.end_ns > fault.begin_ns:
            self._world.trace("fault", f"{fault.kind} {fault.who} is over")

    def _do(self, planned: PlannedFault, fault: Fault) -> Undo | None:
        """Begin it; how to end it, None: there is nothing that it could hit."""
        family, _, kind = planned.kind.partition(".")
        match family:
            case "server":
                return self._server(kind, planned, fault)
            case "disk":
                return self._disk(kind, planned, fault)
            case "net":
                return self._net(kind, planned, fault)
            case "agent":
                return self._agent(kind, planned, fault)
            case "clock":
                return self._clock(kind, planned, fault)
            case _:
                return self._store(kind, planned, fault)

    def _server(self, kind: str, planned: PlannedFault, fault: Fault) -> Undo | None:
        world = self._world
        server = world.server
        if server is None or server.process.frozen:
            return None
        fault.who = server.process.name
        if kind in ("pause", "stall", "suspend"):
            return self._freeze(server.process, server.machine, server.boot.pauses, kind)
        if kind == "stop":
            server.stop()
            world.hold_server(planned.length_ns)
            return _nothing
        world.hold_server(planned.length_ns)
        world.server_ended(server, "crash", silently=kind in ("power", "move"))
        if kind == "power":
            world.server_machine.reboot()
        elif kind == "move":
            # Another machine takes over; only after the first process is gone, as that holds the lock of the data.
            world.new_server_machine()
        elif kind == "boot":
            # The next one dies while it starts, if the start takes as long.
            world.kill_at_boot = int(planned.measure * 0.6 * NS)
        return _nothing

    def _freeze(self, process: Process, machine: Machine, pauses: list[Span], kind: str) -> Undo:
        world = self._world
        process.freeze(deaf=kind != "stall", suspended=kind == "suspend")
        span = Span(begin_ns=world.schedule.now_ns)
        pauses.append(span)
        if process.deaf:
            world.network.frozen(process)

        def thaw() -> None:
            if not process.dead:
                span.end_ns = world.schedule.now_ns
                machine.suspended_ns += process.thaw()

        return thaw

    def _disk(self, kind: str, planned: PlannedFault, fault: Fault) -> Undo | None:
        world = self._world
        medium = world.medium
        fault.who = "disk"
        match kind:
            case "slow":
                usual = self._slow or [medium.slow_s]
                made = slow(0.2 + 0.8 * planned.measure, world.random)
                # Several may overlap, and end in any order; the last one that has not ended counts.
                self._slow = [*usual, made]
                medium.slow_s = made
                fault.note = f"up to {made[1]:.3f} s"

                def undo() -> None:
                    self._slow.remove(made)
                    medium.slow_s = self._slow[-1]

                return undo
            case "full":
                medium.full = True

                def freed() -> None:
                    medium.full = False

                return freed
            case "read-only":
                medium.read_only = True

                def remounted() -> None:
                    medium.read_only = False

                return remounted
            case _:
                medium.failing = 0.5
                world.hold_server(planned.length_ns)

                def mended() -> None:
                    medium.failing = None

                # It waits for the next flush.
                world.nature.at_virtual(world.plan.heal_ns, mended)
                return _nothing

    def _net(self, kind: str, planned: PlannedFault, fault: Fault) -> Undo | None:
        world = self._world
        links = list(world.network.links.values())
        if kind in ("all", "workers"):
            return self._net_of_many(links if kind == "all" else links[: len(world.agents)], kind, fault)
        link = links[planned.target % len(links)]
        fault.who = link.name
        if kind == "cut":
            link.cut()
            return _nothing
        if not (link.up and link.down):
            return None
        link.block(up=kind in ("block", "up"), down=kind in ("block", "down"))
        return link.heal

    def _net_of_many(self, links: list[Link], kind: str, fault: Fault) -> Undo | None:
        """Nobody gets through: the server's own network card, or the network that the workers are in."""
        fault.who = "server" if kind == "all" else "workers"
        hit = [link for link in links if link.up and link.down]
        if not hit:
            return None
        for link in hit:
            link.block(up=True, down=True)

        def heal() -> None:
            for link in hit:
                link.heal()

        return heal

    def _agent(self, kind: str, planned: PlannedFault, fault: Fault) -> Undo | None:
        world = self._world
        number = planned.target % len(world.agents)
        agent: Agent | None = world.agents[number]
        if agent is None or agent.process.frozen:
            return None
        fault.who = agent.incarnation
        if kind in ("pause", "suspend"):
            return self._freeze(agent.process, agent.machine, agent.life.pauses, kind)
        world.hold_agent(number, planned.length_ns)
        if kind == "drain":
            agent.drain("maintenance", release=planned.measure < 0.7)
            return _nothing
        world.agent_crashed(agent, "crash", silently=kind == "power")
        if kind == "power":
            agent.machine.reboot()
        return _nothing

    def _clock(self, kind: str, planned: PlannedFault, fault: Fault) -> Undo | None:
        world = self._world
        machine: Machine = world.server_machine
        if kind == "worker":
            machine = world.machines[planned.target % len(world.machines)]
        fault.who = machine.name
        step_s = STEPS[int(planned.measure * len(STEPS))]
        fault.note = f"by {step_s:g} s"
        machine.step_ns += int(step_s * NS)
        return _nothing

    def _store(self, kind: str, planned: PlannedFault, fault: Fault) -> Undo | None:
        objects = self._world.objects
        fault.who = "store"
        match kind:
            case "unreachable":
                objects.reachable = False

                def back() -> None:
                    objects.reachable = True

                return back
            case "refusing":
                objects.refusing = True

                def willing() -> None:
                    objects.refusing = False

                return willing
            case _:
                objects.slow = 1 + 60 * planned.measure

                def fast() -> None:
                    objects.slow = 1.0

                return fast


def _nothing() -> None:
    """It is over already."""
