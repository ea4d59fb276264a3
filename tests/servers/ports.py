"""Ports for servers that are started again on the same one.

Between two lives of a server its port is free, and who asks the kernel for any port, as every client does without
knowing, could be given it. These lie below the ones that the kernel gives away by itself.
"""

from __future__ import annotations

import itertools
import os
import random
import socket

_FIRST, _EACH = 20_000, 1_000
# Each process of a parallel run has its own; where it begins differs, so that two runs side by side rarely meet.
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12
_next = itertools.count(random.Random().randrange(_EACH))


def own_port() -> int:
    """A port of the loopback address that nobody has, and that no other call gives."""
    for number in itertools.islice(_next, _EACH):
        port = _FIRST + _process * _EACH + number % _EACH
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
