"""The port to running commands, and the ladder of signals that ends one.

`process.LocalRunner` is the implementation for a real machine; a simulation brings its own.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tenure.agent.output import OutputRing
from tenure.runtime.clock import Clock

NS = 1_000_000_000


class CommandNotStarted(Exception):
    """The program cannot be run; the text says why and is fit for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What to run.

    Attributes:
        name: short and different for every attempt, fit for a file name.
        program: a name on the agent's PATH, or a path; relative ones count from `directory`.
        environment: the whole of it.
        directory: working directory.
        output: where what it prints goes; closed when nothing of it runs any more.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    output: OutputRing = field(default_factory=OutputRing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a command ended: by itself with a code, or by a signal.

    Attributes:
        oom: the kernel ended it for want of memory.
    """

    code: int | None
    signal: int | None
    oom: bool = False

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:
            name = f"signal {self.signal}"
        return f"ended by {name}" + (" (out of memory)" if self.oom else "")


class RunningCommand(Protocol):
    """A command that was started."""

    output: OutputRing

    async def wait(self) -> Exit:
        """How it ended; when this returns, nothing of it runs any more. May be called again."""

    def signal(self, number: int) -> None:
        """Send a signal to all of it; gone already is fine."""

    def kill(self) -> None:
        """SIGKILL to all of it; `wait` then returns soon."""


class Runner(Protocol):
    """Starts commands."""

    async def start(self, command: CommandLine) -> RunningCommand:
        """Run a command.

        Raises:
            CommandNotStarted: it cannot be run.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """How long a command is given after SIGINT before SIGTERM, and after that before SIGKILL."""

    terminate_after_ns: int
    kill_after_ns: int = 10 * NS

    def inside(self, budget_ns: int) -> Ladder:
        """The same, shortened so that a fifth of the budget (at most 5 s) is left for the last upload."""
        reserve = min(5 * NS, budget_ns // 5)
        return Ladder(
            terminate_after_ns=min(self.terminate_after_ns, budget_ns - reserve),
            kill_after_ns=min(self.kill_after_ns, reserve // 2),
        )

    async def descend(self, command: RunningCommand, clock: Clock) -> None:
        """Send the three signals at their times; cancelled as soon as the command is gone."""
        command.signal(signal.SIGINT)
        await clock.sleep(self.terminate_after_ns / NS)
        command.signal(signal.SIGTERM)
        await clock.sleep(self.kill_after_ns / NS)
        command.kill()
