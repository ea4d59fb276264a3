"""One stream of one worker: reads its messages one after the other, and sends what has gathered for it.

What the messages mean is not known here; what must be is that the stream can be ended from outside at any moment, that
an idle one costs next to nothing, and that a worker that does not read is cut off instead of being waited for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tenure.controlplane.call import BadMessage, Messages, StreamCall
from tenure.controlplane.outbox import Outbox
from tenure.domain.errors import Reason, Refused
from tenure.runtime.groups import TaskGroup
from tenure.v1 import errors_pb2
from tenure.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from tenure.controlplane.workers import Worker

# Answers that may wait to be sent before nothing more is read from the worker.
MAX_WAITING = 8192
# Messages that may wait for a commit before nothing more is read.
MAX_LATER = 64

# Something that takes a while.
Work = Callable[[], Awaitable[None]]

# Carries out one message; False: it was the last one.
Answerer = Callable[["Session", pb.ConnectRequest], Awaitable[bool]]


class Session:
    """One stream. `worker` says whose."""

    __slots__ = (
        "_chain",
        "_closing",
        "_ended",
        "_group",
        "_idle",
        "_later",
        "_room",
        "_scope",
        "call",
        "id",
        "outbox",
        "worker",
    )

    def __init__(self, session_id: str, worker: Worker, call: StreamCall) -> None:
        self.id = session_id
        self.worker = worker
        self.call = call
        self.outbox = Outbox()
        # What the writer waits for while nothing is to be sent. No Event: those weigh a kilobyte each.
        self._idle: asyncio.Future[None] | None = None
        self._room: asyncio.Event | None = None
        # What takes a commit, one after the other; both are there only while there is something to do.
        self._later: deque[Work] | None = None
        self._chain: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._scope: asyncio.Timeout | None = None
        self._ended: Refused | None = None
        self._closing = False

    @property
    def ended(self) -> bool:
        """`end` was called: what is not under way yet is not begun any more."""
        return self._ended is not None

    async def run(self, messages: Messages[pb.ConnectRequest], answer: Answerer) -> None:
        """Carry on the conversation until one side ends it.

        Raises:
            Refused: `end` was called, the worker does not read, or it broke the rules.
        """
        try:
            async with asyncio.timeout(None) as self._scope, TaskGroup() as group:
                if self._ended is not None:
                    raise self._ended
                self._group = group
                writer = group.create_task(self._write())
                last = await self._read(messages, answer)
                await self.settled()
                if last:
                    # What was answered last still goes out.
                    self._closing = True
                    self.flush()
                else:
                    writer.cancel()
        except TimeoutError:
            raise self._ended or Refused(Reason.INTERNAL, "the stream was given up") from None
        except ExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            self._scope = self._group = None

    def later(self, work: Work) -> None:
        """Have it done after what was put off before. Reading goes on meanwhile: a beat that lies behind a report must
        not wait for the disk, or a slow disk would end the lease of a worker that beats.
        """
        if self._later is not None:
            self._later.append(work)
        elif self._group is not None:
            self._later = deque((work,))
            self._chain = self._group.create_task(self._catch_up(self._later))

    async def settled(self) -> None:
        """Return when nothing is put off any more.

        Raises:
            Refused: `end` was called meanwhile.
        """
        while self._chain is not None:
            await asyncio.wait((self._chain,))
        if self._ended is not None:
            raise self._ended

    async def _catch_up(self, works: deque[Work]) -> None:
        try:
            # The end comes a few turns of the loop after it was asked for.
            while works and not self.ended:
                await works.popleft()()
        finally:
            self._later = self._chain = None

    def end(self, refused: Refused) -> None:
        """End the stream with this refusal, soon; whatever waits to be sent is dropped."""
        if self._ended is None:
            self._ended = refused
            if self._scope is not None:
                self._scope.reschedule(asyncio.get_running_loop().time())

    def flush(self) -> None:
        """Something was put into the outbox."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def refuse(self, reason: Reason, message: str, field: str = "") -> None:
        """Tell the worker that a message of it could not be used."""
        number = errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason.value}")
        self.outbox.direct(pb.ConnectResponse(refusal=pb.Refusal(reason=number, message=message, field=field)))
        self.flush()

    async def _read(self, messages: Messages[pb.ConnectRequest], answer: Answerer) -> bool:
        """Answer what comes; False: the stream ended without a last message, so nobody may be there any more."""
        async for message in messages:
            if self._ended is not None:
                raise self._ended
            if isinstance(message, BadMessage):
                for violation in message.violations[:1]:
                    self.refuse(Reason.INVALID_FIELD, violation.description, violation.field)
            elif not await answer(self, message):
                return True
            if self._later is not None and len(self._later) >= MAX_LATER:
                await self.settled()
            while len(self.outbox) > MAX_WAITING:
                # Bounded by the writer, which gives up a worker that does not read.
                self._room = asyncio.Event()
                await self._room.wait()
        return False

    async def _write(self) -> None:
        while True:
            if not len(self.outbox) and not self._closing:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
                self._idle = None
            for message in self.outbox.take():
                await self.call.send(message)
            if self._room is not None:
                self._room.set()
                self._room = None
            if self._closing and not len(self.outbox):
                return


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """The refusal among several errors of one stream, else the first."""
    refused, others = errors.split(Refused)
    error: Exception | None = refused or others
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert error is not None
    return error
