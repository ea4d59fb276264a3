"""One simulated world: a server, its disk, workers, clients, the network between them, and what happens to them all.

From one seed everything follows: see `plan`. The world writes down what happens in a `History`; it judges nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

from tenure.controlplane.permissions import Role
from tenure.controlplane.tokens import digest_of
from tenure.store.store import TokenRow
from tests.simulation.agent import Agent
from tests.simulation.client import RPCS, Caller, Pending, refusal_of
from tests.simulation.disk import Medium
from tests.simulation.ending import Ending
from tests.simulation.faults import Faults
from tests.simulation.history import Call, Committing, History, Watch
from tests.simulation.invariants_state import StateJudge
from tests.simulation.loop import NS, Schedule
from tests.simulation.machine import Machine
from tests.simulation.network import Connection, Network
from tests.simulation.objects import Objects
from tests.simulation.plan import ClientPlan, MachinePlan, Plan
from tests.simulation.process import Process, process_of
from tests.simulation.server import Server
from tests.simulation.wire import End
from tests.simulation.wishes import Wishes

LOOK_NS = 5 * NS
# The first client is the administrator.
ADMIN = "local"
USERS = ("alice", "bob")


class World:
    """One world.

    Args:
        plan: what happens in it.
        told: given every line of the trace; None: there is none.

    Attributes:
        jobs: that were created, with the subject of their owner.
        healed: the faults are over.
        closing: everything is about to end.
        wishing: calls that clients still make, or may still make again.
        coverage: how often each kind of fault met which state.
    """

    def __init__(self, plan: Plan, told: Callable[[int, str, str], None] | None = None) -> None:
        self.plan = plan
        self._told = told
        self.random = Random(f"{plan.seed}/world")
        self.schedule = Schedule(Random(f"{plan.seed}/shuffle") if plan.shuffle else None)
        self.history = History(seed=plan.seed)
        self.nature: Process = process_of(self.schedule, "nature")
        self.network = Network(self.schedule, self.nature)
        self.objects = Objects(Random(f"{plan.seed}/objects"))
        disk, reads = Random(f"{plan.seed}/disk"), Random(f"{plan.seed}/reads")
        self.medium = Medium(self.schedule, disk, reads, read_s=plan.read_s, on_written=self._written)
        if plan.slow_disk:
            self.medium.slow_s = (0.001, plan.slow_disk)
        self.history.committed = self.medium.committed
        self.judge = StateJudge()
        self.faults = Faults(self)
        self.ending = Ending(self)
        self.over = False
        self.coverage: Counter[str] = Counter()
        self.jobs: dict[str, str] = {}
        self.calls: dict[int, Call] = {}
        self.watching: list[Watch] = []
        self.open_watches: list[Pending] = []
        self.healed = self.closing = False
        self.wishing = 0
        self.kill_at_boot: int | None = None
        self.server: Server | None = None
        self.processes: list[Process] = []
        self._operations = 0
        self._boots = 0
        self._server_from_ns = 0
        self._agent_from_ns = [0 for _ in plan.workers]
        self._incarnations = [0 for _ in plan.workers]
        self.server_machine = self._machine("server", plan.server)
        self.client_machine = self._machine("clients", replace(plan.server, rate=1.0, skew_ns=0))
        self.machines = [
            self._machine(f"machine-{number}", worker.machine) for number, worker in enumerate(plan.workers)
        ]
        self.agents: list[Agent | None] = [None for _ in plan.workers]
        for number, worker in enumerate(plan.workers):
            self._link(f"w{number}", worker.machine)
            self._token(f"w{number}", Role.WORKER)
        self.callers = [self._caller(number, client) for number, client in enumerate(plan.clients)]
        self.wishes = [Wishes(self, caller) for caller in self.callers]

    # How it is made.

    def _machine(self, name: str, plan: MachinePlan) -> Machine:
        return Machine(self.schedule, name, rate=plan.rate, skew_ns=plan.skew_ns)

    def _link(self, name: str, plan: MachinePlan) -> None:
        self.network.link(name, Random(f"{self.plan.seed}/link/{name}"), base_s=plan.base_s, tail=plan.tail)

    def _token(self, subject: str, role: Role) -> str:
        secret = f"tnr_{subject}"
        row = TokenRow(
            id=f"token-{subject}",
            digest=digest_of(secret),
            role=role.value,
            subject=subject,
            project="",
            queues=(),
            created_us=0,
        )
        self.medium.tokens.setdefault(row.id, row)
        return secret

    def _caller(self, number: int, plan: ClientPlan) -> Caller:
        name = f"client-{number}"
        admin = number == 0
        subject = ADMIN if admin else USERS[number % len(USERS)]
        secret = self._token(subject, Role.ADMIN if admin else Role.USER)
        self._link(name, plan.machine)
        return Caller(self, self.network.links[name], name, subject=subject, secret=secret, admin=admin, plan=plan)

    # Its life.

    def run(self) -> History:
        """Everything from the begin to the end."""
        self.nature.call_soon(self._begin)
        self.schedule.run(lambda: self.over)
        self.history.ended_ns = self.schedule.now_ns
        self.history.log = list(self.medium.events)
        self.history.head = self.medium.head
        self.history.objects = self.objects.content
        self.history.object_times = self.objects.times
        self.history.step_violations = [violation.sentence for violation in self.judge.violations]
        return self.history

    def _begin(self) -> None:
        self.faults.plan(self.plan.faults)
        self._start_server()
        for number in range(len(self.agents)):
            self.nature.at_virtual(int(self.random.uniform(0, 3) * NS), self._start_agent, number)
        for caller, wishes in zip(self.callers, self.wishes, strict=True):
            caller.process.call_soon(self._start_client, caller, wishes)
        self.nature.at_virtual(self.plan.heal_ns, self.ending.heal)
        self.nature.at_virtual(LOOK_NS, self._look)

    def _start_client(self, caller: Caller, wishes: Wishes) -> None:
        self.processes.append(caller.process)
        caller.process.create_task(wishes.live(), name=caller.name)

    def _look(self) -> None:
        """Now and then, at any instant: is what the server has in memory what is on the disk?"""
        self.look()
        if not self.closing:
            self.nature.at_virtual(self.schedule.now_ns + int(self.random.uniform(0.2, 1.8) * LOOK_NS), self._look)

    def look(self) -> None:
        """Judge the server as it is at this instant."""
        server = self.server
        if server is not None and server.store is not None and server.serving and not server.process.frozen:
            self.judge.look(server.services, server.store, self.medium.events)

    # The server.

    def _start_server(self) -> None:
        if self.server is not None:
            return
        number, self._boots = self._boots, self._boots + 1
        self.network.off = False
        self.server = Server(self, number, self.server_machine, Random(f"{self.plan.seed}/server/{number}"))
        self.processes.append(self.server.process)
        self.trace(self.server.process.name, f"starts at position {self.medium.head.position}")
        if self.kill_at_boot is not None:
            at_ns, self.kill_at_boot = self.schedule.now_ns + self.kill_at_boot, None
            self.nature.at_virtual(at_ns, self.server_ended, self.server, "crash")

    def hold_server(self, for_ns: int) -> None:
        """The next server process does not start before that."""
        self._server_from_ns = max(self._server_from_ns, self.schedule.now_ns + for_ns)

    def new_server_machine(self) -> None:
        """The server goes on somewhere else: other clocks, switched on at another time."""
        plan = self.plan.server
        rate = 2.0 - plan.rate
        skew_ns = int(self.random.uniform(-5, 5) * NS) if rate != 1.0 else 0
        self.server_machine = self._machine("server-2", replace(plan, rate=rate, skew_ns=skew_ns))
        self.server_machine.reboot()

    def server_ended(self, server: Server, how: str, *, silently: bool = False) -> None:
        """A server process is no more."""
        if server.process.dead:
            return
        boot = server.boot
        boot.ended_ns, boot.ended = self.schedule.now_ns, how
        for span in boot.pauses:
            if span.end_ns is None:
                span.end_ns = self.schedule.now_ns
        server.serving = False
        if how == "stop":
            self.history.leftovers.extend(self.left(server.process))
        server.process.kill()
        if server.store is not None and how != "stop":
            server.store.crashed(self.medium.random)
        boot.position_at_end = self.medium.head.position
        self.history.checkpoints.append(self.medium.checkpoint())
        self.history.errors.extend(server.process.errors)
        if self.network.listener is server:
            self.network.listener = None
        self.network.off = silently
        self.network.gone(server.process, silently=silently)
        self.trace(server.process.name, f"ended: {how}, {self.medium.head.position} events are on the disk")
        self.server = None
        if not self.closing:
            down_ns = int(self.random.uniform(0.05, 1.0) * NS)
            at_ns = max(self.schedule.now_ns + down_ns, min(self._server_from_ns, self.plan.heal_ns))
            self.nature.at_virtual(at_ns, self._start_server)

    # The agents.

    def _start_agent(self, number: int) -> None:
        if self.agents[number] is not None or self.closing:
            return
        worker_id = f"w{number}"
        self._incarnations[number] += 1
        count = self._incarnations[number]
        plan = self.plan.workers[number]
        agent = self.agents[number] = Agent(
            self,
            self.machines[number],
            self.network.links[worker_id],
            worker_id=worker_id,
            secret=f"tnr_{worker_id}",
            queues=plan.queues,
            slots=plan.slots,
            count=count,
            random=Random(f"{self.plan.seed}/agent/{number}/{count}"),
        )
        self.processes.append(agent.process)
        self.trace(agent.incarnation, "starts")

    def hold_agent(self, number: int, for_ns: int) -> None:
        """The next process of this worker does not start before that."""
        self._agent_from_ns[number] = max(self._agent_from_ns[number], self.schedule.now_ns + for_ns)

    def agent_crashed(self, agent: Agent, why: str, *, silently: bool = False) -> None:
        """An agent process is killed, with all that it runs."""
        if not agent.process.dead:
            self.agent_over(agent, why, silently=silently)

    def agent_ended(self, agent: Agent, how: str) -> None:
        """An agent process ended by itself."""
        if not agent.process.dead:
            self.history.leftovers.extend(self.left(agent.process))
            self.agent_over(agent, how, silently=False)

    def agent_over(self, agent: Agent, how: str, *, silently: bool) -> None:
        agent.ended(how)
        agent.process.kill()
        self.history.errors.extend(agent.process.errors)
        self.network.gone(agent.process, silently=silently)
        self.trace(agent.incarnation, f"ended: {how}")
        number = self.agents.index(agent)
        self.agents[number] = None
        if not self.closing:
            down_ns = int(self.random.uniform(0.5, 5.0) * NS)
            at_ns = max(self.schedule.now_ns + down_ns, min(self._agent_from_ns[number], self.plan.heal_ns))
            self.nature.at_virtual(at_ns, self._start_agent, number)

    def bury(self) -> None:
        """Let go of everything; after the run. What the dead say on this occasion is for nobody's ears."""
        before, sys.unraisablehook = sys.unraisablehook, lambda _said: None
        try:
            for process in (*self.processes, self.nature):
                process.kill()
                process.bury()
        finally:
            sys.unraisablehook = before

    def left(self, process: Process) -> list[str]:
        """Tasks of a process that should have ended with it; the one that says so excepted."""
        current = asyncio.current_task(process) if asyncio._get_running_loop() is process else None
        return [f"{process.name}: {task!r}" for task in process.tasks if not task.done() and task is not current]

    # What is written down.

    def next_operation(self) -> int:
        """A number for a wish."""
        self._operations += 1
        return self._operations

    def answered(self, connection: Connection, answer: bytes | End, server: Server) -> None:
        """The server has answered a unary call; whether anybody hears it is another matter."""
        call = self.calls.get(connection.number)
        if call is None:
            return
        call.ended_ns = self.schedule.now_ns
        call.durable_at_answer = self.medium.head.position
        if isinstance(answer, End):
            call.unsent_answer = refusal_of(answer)
        else:
            call.unsent_answer = RPCS[call.rpc][1].FromString(answer)
        if call.applied_ns is None:
            call.boot, call.applied_ns = server.number, self.schedule.now_ns

    def arrived(self, connection: Connection, server: Server) -> None:
        """A unary call reaches the server."""
        call = self.calls.get(connection.number)
        if call is not None:
            call.boot, call.applied_ns = server.number, self.schedule.now_ns

    def _written(self, entry: Committing) -> None:
        if self._told is not None:
            for event in self.medium.events[entry.first - 1 :]:
                text = f"{event.position} {event.stream} {type(event.payload).__name__} by {event.actor}"
                self._told(self.schedule.now_ns, "disk", text)

    def trace(self, who: str, what: str) -> None:
        """A line for whoever reads along."""
        if self._told is not None:
            self._told(self.schedule.now_ns, who, what)
