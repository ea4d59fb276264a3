"""A simulated process: an asyncio event loop of its own over the schedule of its world.

Its tasks, timers and callbacks carry its name, so that it can be frozen (nothing of it runs; what falls due meanwhile
is delivered late and at once when it goes on), suspended with its machine (its monotonic clock stands still too) and
killed (nothing of it ever runs again, no `finally` either: a crash). Code under test sees an ordinary loop and cannot
tell. Threads, executors, sockets, signals and subprocesses are refused.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn

from tests.simulation.loop import NS, Handle, Schedule

# Tasks that have ended are forgotten when so many are known.
_FEW = 64


class SimulatedFuture(asyncio.Future[Any]):
    """A future whose place in a set follows from when it was made, not from where it lies in memory."""

    __slots__ = ("serial",)
    serial: int

    def __hash__(self) -> int:
        return self.serial


class SimulatedTask(asyncio.Task[Any]):
    """The same of a task: groups keep theirs in sets, and cancel them in the order of these."""

    __slots__ = ("serial",)
    serial: int

    def __hash__(self) -> int:
        return self.serial


class Process(asyncio.AbstractEventLoop):
    """One simulated process: an event loop over the schedule.

    Args:
        schedule: of the world.
        name: for people.
        rate: how much faster its monotonic clock runs than virtual time.
        offset_ns: what its monotonic clock shows at virtual time 0.

    Attributes:
        dead: it was killed, or it has ended.
        frozen: it does not run at present.
        deaf: its threads do not run either, so that not even a ping is answered.
        held: what would have run meanwhile.
        errors: of callbacks, and of tasks that nobody asked for.
    """

    def __init__(self, schedule: Schedule, name: str, *, rate: float = 1.0, offset_ns: int = 0) -> None:
        self.schedule = schedule
        self.name = name
        self.rate = rate
        self.dead = False
        self.frozen = False
        self.deaf = False
        self.held: deque[Handle] = deque()
        self.errors: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self._offset_ns = offset_ns
        self._stopped_ns: int | None = None
        self._many = _FEW

    # Clocks.

    def monotonic_ns(self) -> int:
        """Its monotonic clock; stands still while its machine is suspended."""
        now_ns = self.schedule.now_ns if self._stopped_ns is None else self._stopped_ns
        return int(now_ns * self.rate) + self._offset_ns

    def virtual_ns(self, local_ns: int) -> int:
        """The virtual time at which its monotonic clock shows `local_ns`, as things stand."""
        due_ns = int((local_ns - self._offset_ns) / self.rate)
        # Never a nanosecond early: whoever wakes has to find its time come.
        while int(due_ns * self.rate) + self._offset_ns < local_ns:
            due_ns += 1
        return due_ns

    def time(self) -> float:
        """Its monotonic clock in seconds."""
        return self.monotonic_ns() / NS

    # Faults.

    def freeze(self, *, deaf: bool = True, suspended: bool = False) -> None:
        """Nothing of it runs until `thaw`; `suspended`: its clock stands still as well; not `deaf`: only its loop."""
        self.frozen = True
        self.deaf = deaf
        if suspended and self._stopped_ns is None:
            self._stopped_ns = self.schedule.now_ns

    def thaw(self) -> int:
        """It goes on: what fell due meanwhile runs now, in its order. Returns for how long its clock stood still."""
        self.frozen = self.deaf = False
        slept_ns = 0
        if self._stopped_ns is not None:
            slept_ns = int((self.schedule.now_ns - self._stopped_ns) * self.rate)
            self._offset_ns -= slept_ns
            self._stopped_ns = None
        held, self.held = self.held, deque()
        now_ns = self.monotonic_ns()
        for handle in held:
            if handle.when_ns > now_ns:  # its time stood still
                self.schedule.at(self.virtual_ns(handle.when_ns), handle)
            else:
                self.schedule.soon(handle)
        return slept_ns

    def kill(self) -> None:
        """Nothing of it runs any more."""
        self.dead = True
        self.held.clear()

    def bury(self) -> None:
        """Let go of everything that a killed process had; only when the world is over."""
        assert self.dead
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for task in self.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    coroutine = task.get_coro()
                    with suppress(RuntimeError, BaseExceptionGroup):  # it waits in a `finally`, or for others
                        if coroutine is not None:
                            coroutine.close()
        finally:
            asyncio._set_running_loop(before)
        self.tasks.clear()

    def unfinished(self) -> list[str]:
        """Names of the tasks that have not ended."""
        return [f"{self.name}: {task!r}" for task in self.tasks if not task.done()]

    # What asyncio asks of a loop.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(self, callback, args, context, -1)
        self.schedule._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        return self._timer(self.monotonic_ns() + round(delay * NS), callback, args, context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        # What is due at an instant in seconds finds that its clock has passed it, whichever way that was rounded.
        return self._timer(int(when * NS) + 2, callback, args, context)

    def _timer(
        self, when_ns: int, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> Handle:
        when_ns = max(0, when_ns)
        handle = Handle(self, callback, args, context, when_ns)
        self.schedule.at(max(self.virtual_ns(when_ns), self.schedule.now_ns), handle)
        return handle

    def at_virtual(self, at_ns: int, callback: Callable[..., object], *args: Any) -> Handle:
        """Call it at a virtual time, whatever the process's own clock shows: for what comes from outside."""
        handle = Handle(self, callback, args, None, -1)
        self.schedule.at(max(at_ns, self.schedule.now_ns), handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        future = SimulatedFuture(loop=self)
        schedule = self.schedule
        schedule.made = future.serial = schedule.made + 1
        return future

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        schedule = self.schedule
        schedule.made += 1
        task = SimulatedTask.__new__(SimulatedTask)
        task.serial = schedule.made  # it is put into a set while it is made
        task.__init__(coro, loop=self, name=name or "task", context=context)  # type: ignore[misc]
        self.tasks.append(task)
        if len(self.tasks) > self._many:
            self.tasks = [one for one in self.tasks if not one.done()]
            self._many = 2 * len(self.tasks) + _FEW
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self.errors.append(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError(f"a simulation has no threads, sockets, signals or processes: {name} was called")

    return refuse


for _name in (
    "run_in_executor",
    "set_default_executor",
    "call_soon_threadsafe",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "sock_recv",
    "sock_sendall",
    "sock_connect",
    "sock_accept",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "create_datagram_endpoint",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_exec",
    "subprocess_shell",
    "add_signal_handler",
    "remove_signal_handler",
    "getaddrinfo",
    "getnameinfo",
    "run_forever",
    "run_until_complete",
    "start_tls",
    "sendfile",
):
    setattr(Process, _name, _refused(_name))


def process_of(schedule: Schedule, name: str, *, rate: float = 1.0, offset_ns: int = 0) -> Process:
    """A new process."""
    return Process(schedule, name, rate=rate, offset_ns=offset_ns)  # type: ignore[abstract]
