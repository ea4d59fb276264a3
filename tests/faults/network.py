"""A network of our own: a server and its workers in network namespaces, and cuts in the lines between them.

Needs Linux and root. Everything is gone again at the end, whatever happened. A line is cut by dropping packets where
they arrive, so that nobody is told: connections stay open on both sides.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from tests.acceptance.processes import LISTENING, ServerProcess

LOSS_PERCENT = 30
_COUNT = itertools.count()


class Cut(Enum):
    """What is dropped of a line."""

    TO_SERVER = "to the server"
    FROM_SERVER = "from the server"
    BOTH = "both ways"
    LOSSY = f"{LOSS_PERCENT} % of both ways"

    @property
    def drop(self) -> str:
        """For nft."""
        return f"numgen random mod 100 < {LOSS_PERCENT} drop" if self is Cut.LOSSY else "drop"


class Network:
    """One namespace for the server, one for each worker, and this one, all joined to the server's."""

    def __init__(self, workers: int) -> None:
        number = next(_COUNT)
        self._name = f"tnr{os.getpid():x}{chr(ord('a') + number)}"
        self.server_namespace = f"{self._name}s"
        self.workers = [f"{self._name}w{number}" for number in range(workers)]
        # Of the range kept for tests of networks; different for every process that may run beside this one.
        pid = os.getpid()
        here = f"198.{18 + (pid >> 14 & 1)}.{pid & 0x3F | (number & 1) << 6}.{(pid >> 6 & 0x3F) * 4}"
        self._base, _, last = here.rpartition(".")
        self._last = int(last)
        self.server_ip = f"{self._base}.{self._last + 1}"

    def server_ip_for(self, worker: str) -> str:
        """The server's address as a worker sees it."""
        return f"198.18.{128 + self.workers.index(worker)}.1"

    @property
    def here_ip(self) -> str:
        """The address of this namespace, as everybody in the network sees it; no cut is between."""
        return f"{self._base}.{self._last + 2}"

    def make(self) -> None:
        """Make namespaces and lines, and ways from everywhere to here."""
        server, here = self.server_namespace, f"{self._name}h"
        lines = [f"netns add {server}", f"link add {here} type veth peer name here netns {server}"]
        lines += [f"address add {self.here_ip}/30 dev {here}", f"link set {here} up"]
        inside = [f"address add {self.server_ip}/30 dev here", "link set here up", "link set lo up"]
        lines += [f"netns add {worker}" for worker in self.workers]
        for number, worker in enumerate(self.workers):
            inside.append(f"link add w{number} type veth peer name there netns {worker}")
            inside += [f"address add 198.18.{128 + number}.1/30 dev w{number}", f"link set w{number} up"]
        _ip(lines)
        _ip(inside, server)
        for number, worker in enumerate(self.workers):
            ways = ["link set there up", "link set lo up", f"route add default via {self.server_ip_for(worker)}"]
            _ip([f"address add 198.18.{128 + number}.2/30 dev there", *ways], worker)
        _run(["ip", "netns", "exec", server, "sh", "-c", "cat > /proc/sys/net/ipv4/ip_forward"], "1")
        # The server's namespace speaks for the workers, so that nothing here has to know a way to them.
        self._nft(
            server,
            'table ip nat {\nchain out { type nat hook postrouting priority 100; oifname "here" masquerade; }\n}\n',
        )

    def cut(self, worker: str, cut: Cut) -> None:
        """Drop from now on: where packets arrive, for whoever sends into a closed door is told at once."""
        if cut is not Cut.FROM_SERVER:
            self._nft(self.server_namespace, _table(worker, f'iifname "w{self.workers.index(worker)}" {cut.drop}'))
        if cut is not Cut.TO_SERVER:
            self._nft(worker, _table(worker, f"ip saddr {self.server_ip_for(worker)} {cut.drop}"))

    def mend(self, worker: str) -> None:
        """Drop nothing any more."""
        for namespace in (self.server_namespace, worker):
            self._nft(namespace, f"table inet {worker}\ndelete table inet {worker}\n")

    def close(self) -> None:
        """Remove it all, as far as it was made; processes inside must have ended."""
        for namespace in (*self.workers, self.server_namespace):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", f"{self._name}h"], capture_output=True, check=False)

    def _nft(self, namespace: str, rules: str) -> None:
        _run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], rules)


@contextmanager
def network(workers: int) -> Iterator[Network]:
    """A network for one server and so many workers."""
    made = Network(workers)
    try:
        made.make()
        yield made
    finally:
        made.close()


class FarServer(ServerProcess):
    """A server that listens in a namespace of its own; `address` is how this process reaches it."""

    def __init__(self, directory: Path, net: Network, *, more: Sequence[str] = ()) -> None:
        super().__init__(directory, more=more)
        self.port = int(self.address.rpartition(":")[2])
        place = self._arguments.index(self.address)
        self._arguments[place : place + 1] = [f"0.0.0.0:{self.port}", "--insecure"]
        self.address = f"{net.server_ip}:{self.port}"

    async def up(self) -> None:
        """Start it and wait until it says that it listens."""
        after = len(self.output())
        self.start()
        await self.says(LISTENING, after=after)


def _table(name: str, rule: str) -> str:
    return f"table inet {name} {{\nchain into {{ type filter hook input priority 0; {rule}; }}\n}}\n"


def _ip(lines: list[str], namespace: str = "") -> None:
    inside = ["-n", namespace] if namespace else []
    _run(["ip", *inside, "-batch", "-"], "\n".join(lines) + "\n")


def _run(command: list[str], told: str) -> None:
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
