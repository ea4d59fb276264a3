"""The network between the server and everybody else: late, broken, blocked in one direction or both, half open.

One connection carries one call. Within a direction of a connection nothing is lost, repeated or overtaken: that is
TCP's promise. What can go wrong is what goes wrong with TCP: bytes are late (with a heavy tail), a connection breaks
with anything on its way lost, a blocked direction holds everything back until it heals or one end gives up by its
keepalive, and one end learns of it while the other does not.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

from tests.simulation.loop import NS, Schedule
from tests.simulation.process import Process
from tests.simulation.wire import Direction, Receiver, post

# When an end without any sign of life from the other gives a connection up; see the keepalive of both sides.
KEEPALIVE_NS = (10 * NS, 16 * NS)


class Listener(Protocol):
    """A server that takes connections."""

    process: Process
    number: int

    def accept(self, connection: Connection) -> None:
        """A call arrives; runs in the server's process."""


class Link:
    """The way between one machine and the server.

    Attributes:
        up, down: whether what goes to the server, and what comes from it, gets through.
    """

    def __init__(self, network: Network, name: str, random: Random, base_s: float, tail: float) -> None:
        self.network = network
        self.name = name
        self.random = random
        self.up = True
        self.down = True
        self.connections: list[Connection] = []
        self._base_ns = int(base_s * NS)
        self._tail = tail

    def delay_ns(self) -> int:
        """How long the next message takes."""
        random = self.random.random
        delay = self._base_ns * (0.5 + random())
        if self._tail and random() < self._tail:
            delay *= 2 + 100 * random() ** 3
        return int(delay)

    def block(self, *, up: bool, down: bool) -> None:
        """Let nothing through in these directions."""
        self.up, self.down = self.up and not up, self.down and not down
        for connection in list(self.connections):
            connection.watch(client=True, server=True)

    def heal(self) -> None:
        """Let everything through again; what was held back is on its way."""
        self.up = self.down = True
        for connection in list(self.connections):
            connection.healed()

    def calm(self) -> None:
        """From now on nothing is late any more."""
        self._tail = 0.0
        self.heal()

    def cut(self) -> None:
        """Break every connection; whoever can be reached hears of it."""
        for connection in list(self.connections):
            connection.cut()


class Network:
    """All links, and who listens.

    Attributes:
        listener: the server that takes calls; None: nobody does.
        off: the server's machine has no power: nobody says that nobody is there.
    """

    def __init__(self, schedule: Schedule, nature: Process) -> None:
        self.schedule = schedule
        self.nature = nature
        self.links: dict[str, Link] = {}
        self.listener: Listener | None = None
        self.off = False
        self.opened = 0

    def link(self, name: str, random: Random, *, base_s: float, tail: float) -> Link:
        """A new machine."""
        made = self.links[name] = Link(self, name, random, base_s, tail)
        return made

    def gone(self, process: Process, *, silently: bool) -> None:
        """A process was killed; `silently`: with its machine, so that nobody is told."""
        for link in self.links.values():
            for connection in list(link.connections):
                connection.end_gone(process, silently=silently)

    def frozen(self, process: Process) -> None:
        """A process answers nothing, not even pings, until it goes on."""
        for link in self.links.values():
            for connection in link.connections:
                if connection.server is not None and connection.server.process is process:
                    connection.watch(client=True)
                if connection.client is process:
                    connection.watch(server=True)


class Connection:
    """One connection with one call on it.

    Attributes:
        number: of the connection in the whole run.
        client: the process that has opened it, `client_end` who is told there.
        server, server_end: who has taken it, and who is told there; None: nobody yet.
        dead: neither end hears anything of it any more.
    """

    def __init__(
        self,
        link: Link,
        client: Process,
        method: str,
        metadata: tuple[tuple[str, str], ...],
        *,
        deadline_ns: int | None = None,
        room: int = 64,
    ) -> None:
        network = link.network
        self.number = network.opened
        network.opened += 1
        self.link = link
        self.client = client
        self.method = method
        self.metadata = metadata
        self.deadline_ns = deadline_ns
        self.dead = False
        self.server: Listener | None = None
        self.client_end: Receiver | None = None
        self.server_end: Receiver | None = None
        self.up = Direction(self, up=True, sender=client, room=64)
        self.down = Direction(self, up=False, sender=client, room=room)
        self.down.target = client
        self._client_knows = self._server_knows = False
        self._server_broke = False  # it knows because the connection broke, not because it has answered
        link.connections.append(self)
        if not (link.up and link.down) or network.off:
            self.watch(client=True)

    def knock(self) -> bool:
        """The first message reaches the server's machine; False: nobody takes it."""
        network = self.link.network
        listener = network.listener
        if listener is None or listener.process.dead:
            if network.off:
                self.watch(client=True, surely=True)
            else:
                self._tell_client(self.link.delay_ns())
            return False
        self.server = listener
        self.up.target = listener.process
        self.down.sender = listener.process
        post(listener.process, listener.accept, self)
        return True

    def cut(self) -> None:
        """It breaks: both ends hear of it, unless the way there is blocked."""
        if self.link.down:
            self._tell_client(self.link.delay_ns())
        if self.link.up:
            self._tell_server(self.link.delay_ns())
        self.watch(client=True, server=True, surely=True)

    def hang_up(self, *, client: bool) -> None:
        """One end closes it; what was on its way to it is lost."""
        if client:
            self._client_knows = True
            if self.link.up and self.server is not None:
                self._tell_server(self.link.delay_ns())
            elif self.server is not None:
                self.watch(server=True, surely=True)
        else:
            self._server_knows = True
        self._settle()

    def end_gone(self, process: Process, *, silently: bool) -> None:
        """The process of one end was killed."""
        if self.client is process:
            self._client_knows = True
            if not silently and self.link.up:
                self._tell_server(self.link.delay_ns())
            else:
                self.watch(server=True, surely=True)
        if self.server is not None and self.server.process is process:
            self._server_knows = True
            if not silently and self.link.down:
                self._tell_client(self.link.delay_ns())
            else:
                self.watch(client=True, surely=True)
        self._settle()

    def healed(self) -> None:
        """The link lets everything through again."""
        self.up.release()
        self.down.release()
        # What one end did not hear of while nothing got through, it hears now.
        if self._server_broke:
            self._tell_client(self.link.delay_ns())
        if self._client_knows:
            self._tell_server(self.link.delay_ns())

    def watch(self, *, client: bool = False, server: bool = False, surely: bool = False) -> None:
        """Have ends look, after their keepalive, whether the other still answers; `surely`: it does not."""
        low, high = KEEPALIVE_NS
        random = self.link.random
        if client and not self._client_knows:
            at_ns = self.link.network.schedule.now_ns + random.randint(low, high)
            self.client.at_virtual(at_ns, self._client_looks, surely)
        if server and not self._server_knows and self.server is not None:
            at_ns = self.link.network.schedule.now_ns + random.randint(low, high)
            self.server.process.at_virtual(at_ns, self._server_looks, surely)

    def _answers(self) -> bool:
        server = self.server.process if self.server is not None else None
        if self.client.dead or self.client.deaf or (server is not None and (server.dead or server.deaf)):
            return False
        return self.link.up and self.link.down and not self.link.network.off

    def _client_looks(self, surely: bool) -> None:
        if not self._client_knows and (surely or self._server_broke or not self._answers()):
            self._client_broken()
            if self.link.up:
                self._tell_server(self.link.delay_ns())

    def _server_looks(self, surely: bool) -> None:
        if not self._server_knows and (surely or not self._answers()):
            self._server_broken()
            if self.link.down:
                self._tell_client(self.link.delay_ns())

    def _tell_client(self, delay_ns: int) -> None:
        at_ns = self.link.network.schedule.now_ns + delay_ns
        self.client.at_virtual(at_ns, self._client_broken)

    def _tell_server(self, delay_ns: int) -> None:
        if self.server is not None:
            at_ns = self.link.network.schedule.now_ns + delay_ns
            self.server.process.at_virtual(at_ns, self._server_broken)

    def _client_broken(self) -> None:
        if not self._client_knows:
            self._client_knows = True
            if self.client_end is not None:
                self.client_end.broken()
            self._settle()

    def _server_broken(self) -> None:
        if not self._server_knows:
            self._server_knows = self._server_broke = True
            if self.server_end is not None:
                self.server_end.broken()
            self._settle()

    def _settle(self) -> None:
        if not self.dead and self._client_knows and (self._server_knows or self.server is None):
            self.dead = True
            self.link.connections.remove(self)
