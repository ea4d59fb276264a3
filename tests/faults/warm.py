"""Real processes that start at once: forked from one that has loaded everything and done nothing yet.

A program that is killed a thousand times would spend most of its life loading modules. What a forked process runs is
the program's own `main` with its own arguments, environment and output; only the loading was done before. `launching`
gives processes in a network namespace, or with a defect of `plants` for a control.

    python -m tests.faults.warm     reads orders from standard input, one JSON object a line; ends with it
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.acceptance.processes import TENURE, Launch
from tests.proof.record import ROOT

# Everything that server, worker and agents load; none of it starts a thread or a gRPC core.
LOADED = (
    "tenure.cli.main",
    "tenure.cli.serve",
    "tenure.cli.worker",
    "tenure.controlplane.app",
    "tenure.agent.app",
    "tests.faults.agents",
    "uvloop",
)
ANSWER_S = 60.0
CLONE_NEWNET = 0x40000000


class Forked:
    """One process of the family."""

    def __init__(self, family: Warm, pid: int) -> None:
        self.pid = pid
        self._family = family

    def poll(self) -> int | None:
        """Its exit code, as subprocess tells it; None: it runs."""
        self._family.listen(0)
        return self._family.ended.get(self.pid)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        while (code := self.poll()) is None:
            self._family.listen(ANSWER_S)
        return code


class Warm:
    """The process that the others are forked from; `launch` fits `Process.launch`."""

    def __init__(self, *, env: Mapping[str, str] | None = None) -> None:
        self.ended: dict[int, int] = {}
        self._started: list[int] = []
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm"],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def launch(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> Forked:
        """Run `python -m MODULE …` as a fork."""
        return self._launch(arguments, environment, output)

    def launching(self, *, plants: Sequence[str] = (), namespace: str = "") -> Launch:
        """Like `launch`, with these defects, in this network namespace."""
        return partial(self._launch, plants=tuple(plants), namespace=namespace)

    def _launch(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        plants: Sequence[str] = (),
        namespace: str = "",
    ) -> Forked:
        assert tuple(arguments[:2]) == TENURE[:2]
        order = {
            "module": arguments[2],
            "arguments": list(arguments[3:]),
            "environment": dict(environment),
            "output": str(output),
            "plants": list(plants),
            "namespace": namespace,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        while not self._started:
            self.listen(ANSWER_S)
        return Forked(self, self._started.pop())

    def listen(self, seconds: float) -> None:
        """Take in what the process has said; wait so long for something."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while select.select([pipe], [], [], seconds)[0]:
            data = os.read(pipe, 65536)
            if not data:
                raise AssertionError("the process that forks the others has ended")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "started" in said:
                    self._started.append(said["started"])
                else:
                    self.ended[said["ended"]] = said["code"]
            seconds = 0

    def close(self) -> None:
        """End it, and with it whatever it has forked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def warm(*, env: Mapping[str, str] | None = None) -> Iterator[Warm]:
    """A family of processes, all ended at the end."""
    family = Warm(env=env)
    try:
        yield family
    finally:
        family.close()


# --- the process itself -----------------------------------------------------------------------------------------------


def main() -> None:
    """Load, then fork whatever is ordered, and say what was started and what has ended."""
    for name in LOADED:
        importlib.import_module(name)
    said = os.dup(1)
    os.dup2(2, 1)
    children: dict[int, int] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0, *children], [], [])
        for descriptor in ready:
            if descriptor:
                os.close(descriptor)
                pid, status = os.waitpid(children.pop(descriptor), 0)
                _say(said, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})
        if 0 not in ready:
            continue
        data = os.read(0, 65536)
        if not data:
            for pid in children.values():
                os.kill(pid, signal.SIGKILL)
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            pid = os.fork()
            if not pid:
                for descriptor in (said, *children):
                    os.close(descriptor)
                _become(json.loads(line))
                return
            children[os.pidfd_open(pid)] = pid
            _say(said, {"started": pid})


def _say(descriptor: int, what: Mapping[str, int]) -> None:
    os.write(descriptor, json.dumps(what).encode() + b"\n")


def _become(order: Mapping[str, Any]) -> None:
    """Be the program that was ordered."""
    os.setsid()
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    if order["namespace"]:
        _enter(order["namespace"])
    os.environ.clear()
    os.environ.update(order["environment"])
    random.seed()
    sys.argv = [order["module"], *order["arguments"]]
    if order["plants"]:
        planted = importlib.import_module("tests.faults.plants")
        for name in order["plants"]:
            planted.PLANTS[name]()
    module = "tenure.cli.main" if order["module"] == "tenure" else order["module"]
    importlib.import_module(module).main()


def _enter(namespace: str) -> None:
    """Go into a network namespace; `os.setns` is younger than the oldest Python we run on."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")
    os.close(descriptor)


if __name__ == "__main__":
    main()
