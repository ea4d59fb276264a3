"""The commands that jobs run: scripts of a few words, in virtual time.

A command counts steps, saves a checkpoint after each (`state/step`), and at the end writes what it was asked for
(`out/result`). It begins where the checkpoint that was copied in has stopped. Its arguments say how it behaves:

    steps=N each=SECONDS        how long it is
    fail=N                      exit code 3 at the end, in the first N attempts
    crash=N                     end by SIGSEGV in the middle, in the first N attempts
    poison=N                    take the whole agent down in the middle, in the first N attempts
    deaf=1                      ignore SIGINT; deaf=2: ignore SIGTERM as well
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tenure.agent.output import OutputRing
from tenure.agent.runner import CommandLine, Exit, RunningCommand
from tenure.v1 import job_pb2
from tests.simulation.history import Execution
from tests.simulation.loop import NS

if TYPE_CHECKING:
    from tests.simulation.agent import Agent

_NOWHERE = Path("/simulated")


class Folder:
    """The private folder of an attempt; see `tenure.agent.workdir.AttemptFolder`. Files are in memory."""

    job_dir = home = tmp = spool = deadline_file = progress_file = _NOWHERE

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.changed = asyncio.Event()
        self.done = 0.0

    def write(self, name: str, content: str) -> None:
        """The command writes a file."""
        self.files[name] = content
        self.changed.set()

    def write_deadline(self, deadline_us: int | None) -> None:
        """Nobody reads it."""

    def progress(self) -> job_pb2.Progress | None:
        """How far the command is."""
        return job_pb2.Progress(fraction=self.done) if self.done else None

    async def remove(self) -> None:
        """It is gone."""
        self.files.clear()


class Folders:
    """See `tenure.agent.workdir.AttemptFolders`."""

    def __init__(self) -> None:
        self.by_name: dict[str, Folder] = {}

    async def make(self, name: str) -> Folder:
        """A fresh folder."""
        folder = self.by_name[name] = Folder()
        return folder


class Command:
    """A command that runs; see `tenure.agent.runner.RunningCommand`."""

    def __init__(self, agent: Agent, line: CommandLine, folder: Folder, execution: Execution) -> None:
        self.output = OutputRing()
        self._agent = agent
        self._folder = folder
        self._execution = execution
        self._words = _words(line.arguments)
        self._over = asyncio.Event()
        self._exit: Exit | None = None
        self._told = False
        self._task = asyncio.create_task(self._run())

    async def wait(self) -> Exit:
        """How it ended."""
        await self._over.wait()
        assert self._exit is not None
        return self._exit

    def signal(self, number: int) -> None:
        """A signal; what it makes of it depends on how deaf it is."""
        deaf = int(self._words.get("deaf", "0"))
        if self._exit is not None or (number == signal.SIGINT and deaf > 0) or (number == signal.SIGTERM and deaf > 1):
            return
        if number == signal.SIGINT:
            self._told = True  # it saves once more, and goes
            self._agent.process.call_later(self._agent.random.uniform(0.05, 2.0), self._obey)
            return
        self._end(Exit(code=None, signal=number))

    def kill(self) -> None:
        """It is gone at once."""
        self._end(Exit(code=None, signal=signal.SIGKILL))

    def _obey(self) -> None:
        if self._agent.random.random() < 0.5:
            self._end(Exit(code=0, signal=None))
        else:
            self._end(Exit(code=None, signal=signal.SIGINT))

    async def _run(self) -> None:
        words = self._words
        steps, each_s = int(words.get("steps", "1")), float(words.get("each", "1"))
        attempt = self._execution.attempt
        done = int(self._folder.files.get("state/step", "0"))
        middle = done + max(1, (steps - done) // 2)
        while done < steps:
            await self._agent.clock.sleep(each_s)
            done += 1
            self._folder.done = done / steps
            self._folder.write("state/step", str(done))
            if done == middle and attempt <= int(words.get("crash", "0")):
                self._end(Exit(code=None, signal=signal.SIGSEGV))
                return
            if done == middle and attempt <= int(words.get("poison", "0")):
                self._agent.world.agent_crashed(self._agent, "poison")
                return
        self._folder.write("out/result", f"{steps} steps")
        failed = attempt <= int(words.get("fail", "0"))
        self._end(Exit(code=3 if failed else 0, signal=None))

    def _end(self, how: Exit) -> None:
        if self._exit is not None:
            return
        self._exit = how
        self._task.cancel()
        execution = self._execution
        execution.ended_ns = self._agent.world.schedule.now_ns
        execution.ended = "exit" if how.signal is None else "signal"
        execution.exit_code, execution.signal = how.code, how.signal
        if how.code == 0:
            execution.promised = self._agent.promised(execution, self._folder)
        self.output.append(b"the end\n")
        self.output.close()
        self._over.set()


class Runner:
    """See `tenure.agent.runner.Runner`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def start(self, command: CommandLine) -> RunningCommand:
        """Run a command."""
        execution, folder = self._agent.started(command.name)
        return Command(self._agent, command, folder, execution)


def _words(arguments: tuple[str, ...]) -> Mapping[str, str]:
    return dict(word.partition("=")[::2] for word in arguments)


def length_ns(arguments: tuple[str, ...]) -> int:
    """How long a command runs when nothing disturbs it."""
    words = _words(arguments)
    return int(float(words.get("each", "1")) * int(words.get("steps", "1")) * NS)
