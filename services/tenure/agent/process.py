"""Commands as real processes of a Linux machine (5.3 or later).

A command is the leader of a session of its own and, where the agent may make one, alone in a cgroup. Its end is seen
through a pidfd, and everything it left behind is killed while its own process number is still held by the unreaped
leader: a signal never hits a stranger. Output is read as it comes, into a ring, by the loop itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess

from tenure.agent import strays
from tenure.agent.cgroup import Cgroup, CgroupParent, own_oom_counter, read_oom_kills
from tenure.agent.guard import Guard
from tenure.agent.runner import CommandLine, CommandNotStarted, Exit
from tenure.agent.sync.offload import Offload
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger

log = get_logger("process")

_READ_BYTES = 64 * 1024
_PIPE_BYTES = 1024 * 1024
_SWEEP_PAUSE_S = 0.01
_SWEEP_LIMIT_S = 10.0
# What the machine has too little of, processes or memory or descriptors, is no fault of the command.
_MACHINES_TROUBLE = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


class LocalRunner:
    """Starts commands on this machine."""

    def __init__(
        self,
        *,
        clock: Clock,
        offload: Offload,
        path: str,
        cgroups: CgroupParent | None = None,
        guard: Guard | None = None,
        owns_process: bool = False,
    ) -> None:
        """Prepare.

        Args:
            clock: for waits.
            offload: for looking through all processes.
            path: where programs are looked for: the agent's own PATH, whatever the job's is.
            cgroups: where to make one for each command; None: process groups only.
            guard: ends the commands should this process die.
            owns_process: every child of this process is ours, so an orphan without our mark is one too.
        """
        self._clock = clock
        self._offload = offload
        self._path = path
        self._cgroups = cgroups
        self._guard = guard
        self._owns_process = owns_process
        self._oom_file = own_oom_counter()
        # Commands have sessions of their own, which nothing of them can leave for one of these. What is in them is no
        # command's: a start script's `tee` or sidecar, which becomes our child when the script executes us, and what
        # libraries start.
        self._not_ours = strays.sessions_below(os.getpid()) if owns_process else frozenset()
        self._running: dict[int, LocalCommand] = {}
        self._counting = asyncio.Lock()
        self._census: tuple[int, strays.Census] | None = None

    async def start(self, command: CommandLine) -> LocalCommand:
        """Run a command.

        Raises:
            CommandNotStarted: it cannot be run.
            OSError: this machine has too little left to run anything.
        """
        program = self._resolve(command)
        cgroup = self._cgroups.create(command.name) if self._cgroups else None
        reader, writer = _output_pipe()
        try:
            # No preexec_fn: it would make Python fork in a process with gRPC's threads; without it, it can vfork.
            popen = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as the program is executed
                [command.program, *command.arguments],
                executable=program,
                cwd=command.directory,
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            os.close(reader)
            if cgroup is not None:
                cgroup.remove()
            if isinstance(error, OSError) and error.errno in _MACHINES_TROUBLE:
                raise
            raise CommandNotStarted(_why(command.program, error)) from error
        finally:
            os.close(writer)
        if self._guard is not None:
            self._guard.add(popen.pid, cgroup)
        if cgroup is not None and not _enclose(cgroup, popen.pid):
            cgroup.remove()
            cgroup = None
        try:
            running = LocalCommand(popen, reader, cgroup, command, self)
        except OSError:  # no descriptor left to watch it with
            os.close(reader)
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
            raise
        self._running[popen.pid] = running
        return running

    @property
    def clock(self) -> Clock:
        """The clock of its waits."""
        return self._clock

    def oom_kills(self, cgroup: Cgroup | None) -> int:
        """The counter that grows when the kernel kills a command for want of memory."""
        own = cgroup.oom_kills() if cgroup is not None else None
        if own is not None:
            return own
        return (read_oom_kills(self._oom_file) or 0) if self._oom_file is not None else 0

    async def left_overs(self, command: LocalCommand) -> list[int]:
        """Live processes of a command other than its leader; reaps the dead ones on the way."""
        census = await self._count()
        if self._owns_process:
            # Elsewhere a dead child may be somebody else's, who waits for it.
            dead = [process for process in census.ours if process.session not in self._not_ours]
            strays.reap(dead, [*self._running, *([self._guard.pid] if self._guard else [])])
        members = set(command.cgroup.pids()) if command.cgroup else set()
        members |= {process.pid for process in strays.below(command.pid, census.everything)}
        members |= {process.pid for process in census.everything if process.session == command.pid}
        members |= {process.pid for process in census.ours if self._is_stray_of(process, census, command)}
        members.discard(command.pid)
        return sorted(members - {process.pid for process in census.everything if process.zombie})

    async def _count(self) -> strays.Census:
        """A census taken from now on; shared by all who ask while another one is being taken."""
        asked_ns = self._clock.monotonic_ns()
        async with self._counting:
            if self._census is None or self._census[0] < asked_ns:
                began_ns = self._clock.monotonic_ns()
                self._census = (began_ns, await self._offload.run(strays.census))
            return self._census[1]

    def forget(self, command: LocalCommand) -> None:
        """The command is gone altogether."""
        del self._running[command.pid]
        if self._guard is not None:
            self._guard.remove(command.pid)

    def _is_stray_of(self, process: strays.Process, census: strays.Census, command: LocalCommand) -> bool:
        if process.pid in self._running or (self._guard is not None and process.pid == self._guard.pid):
            return False
        job_dir = census.job_dirs.get(process.pid)
        if job_dir is not None:
            return job_dir == command.job_dir
        if process.session in self._not_ours:
            return False
        # An orphan that hides its environment can only be told apart when no other command runs.
        return self._owns_process and process.parent == os.getpid() and len(self._running) == 1

    def _resolve(self, command: CommandLine) -> str:
        program = command.program
        if "/" not in program:
            found = shutil.which(program, path=self._path)
            if found is None:
                raise CommandNotStarted(f"there is no program {program!r} on the worker's PATH")
            return os.path.abspath(found)
        return os.path.join(command.directory, program)


class LocalCommand:
    """A process with everything that came of it."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        reader: int,
        cgroup: Cgroup | None,
        command: CommandLine,
        runner: LocalRunner,
    ) -> None:
        self.pid = popen.pid
        self.output = command.output
        self.cgroup = cgroup
        self.job_dir = command.environment.get(strays.MARK)
        self._popen = popen
        self._reader = reader
        self._runner = runner
        self._oom_before = runner.oom_kills(cgroup)
        self._leader_gone = asyncio.Event()
        self._swept = asyncio.Lock()
        self._exit: Exit | None = None
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)
        self._loop.add_reader(reader, self._on_output)

    async def wait(self) -> Exit:
        """How it ended; when this returns, nothing of it runs any more. May be called again."""
        await self._leader_gone.wait()
        async with self._swept:
            if self._exit is None:
                await self._sweep()
                self._exit = self._finish()
        return self._exit

    def signal(self, number: int) -> None:
        """Send a signal to the process group and to what left it within the cgroup."""
        if self._exit is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for pid in self.cgroup.pids() if self.cgroup else ():
            # A process that is gone by now: its number is not given away again within microseconds.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != self.pid:
                    os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        if self._exit is not None:
            return
        if self.cgroup is not None:
            self.cgroup.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _sweep(self) -> None:
        """Kill what is left until nothing is; the unreaped leader still holds its number."""
        waited = 0.0
        while True:
            self.kill()
            left = await self._runner.left_overs(self)
            if not left:
                return
            for pid in left:
                strays.kill(pid)
            if waited >= _SWEEP_LIMIT_S:
                # Only a process stuck in the kernel survives SIGKILL for so long.
                log.warning("processes_left", pids=left)
                return
            await self._runner.clock.sleep(_SWEEP_PAUSE_S)
            waited += _SWEEP_PAUSE_S

    def _finish(self) -> Exit:
        self._drain_output()
        self.output.close()
        status = self._popen.wait(timeout=5)
        oom = self._runner.oom_kills(self.cgroup) > self._oom_before
        os.close(self._pidfd)
        if self.cgroup is not None:
            self.cgroup.remove()
        self._runner.forget(self)
        if status >= 0:
            return Exit(code=status, signal=None)
        return Exit(code=None, signal=-status, oom=oom and -status == signal.SIGKILL)

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._leader_gone.set()

    def _on_output(self) -> None:
        # One read a turn of the loop: a command that prints without end waits for us, nobody waits for it.
        try:
            data = os.read(self._reader, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self.output.append(data)
        else:
            self._loop.remove_reader(self._reader)

    def _drain_output(self) -> None:
        self._loop.remove_reader(self._reader)
        with contextlib.suppress(BlockingIOError):
            # Bounded by what the pipe holds: nobody is left to write.
            for _ in range(2 * _PIPE_BYTES // 4096):
                data = os.read(self._reader, _READ_BYTES)
                if not data:
                    break
                self.output.append(data)
        os.close(self._reader)


def _enclose(cgroup: Cgroup, leader: int) -> bool:
    """Move a process and what it has forked by now into its cgroup; whether that was possible."""
    cgroup.add(leader)
    if leader not in cgroup.pids():
        return False
    for process in strays.below(leader, strays.processes()):
        cgroup.add(process.pid)
    return True


def _output_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with contextlib.suppress(OSError):  # the system's limit for unprivileged users may be lower
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reader, writer


def _why(program: str, error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return f"there is no program {program!r} (or the interpreter in its first line is missing)"
        case PermissionError():
            return f"the program {program!r} may not be run: it is not executable for the worker's user"
        case OSError():
            return f"the program {program!r} could not be started: {os.strerror(error.errno or 0)}"
        case _:
            return f"the program {program!r} could not be started: an argument or variable holds a NUL character"
