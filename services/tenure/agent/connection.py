"""The worker's connection: one stream after the other, as long as the worker lives.

The end of a stream says nothing about any job. A new one is opened after a wait that grows with each failure and is
random within its bounds, so that a fleet does not come back as one; what was owed is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from tenure.agent.ledger import NS, Ledger
from tenure.agent.transport import Stream, StreamEnded, Transport
from tenure.agent.waiting import Changes, settle, within
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.v1 import worker_service_pb2
from tenure.v1.worker_service_pb2 import ConnectRequest, ConnectResponse

log = get_logger("connection")

WELCOME_WITHIN_S = 10.0
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
REFUSED_WAIT_S = 30.0
GOODBYE_WITHIN_S = 3.0
SHORTEST_SILENCE_NS = 3 * NS
LONGEST_SILENCE_NS = 20 * NS
SUPERSEDED_WITHIN_NS = 120 * NS
SUPERSEDED_LIMIT = 3
SAY_AGAIN_NS = 15 * NS

# Statuses that another try does not change while nothing else does.
_REFUSALS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"})


class ConnectionRefused(Exception):
    """The server does not take this worker; the text is fit for people."""


class Connection:
    """Keeps one stream open and carries what the ledger owes.

    Attributes:
        welcomed: the server has answered Hello on the present stream.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        ledger: Ledger,
        changes: Changes,
        clock: Clock,
        random: Random,
        hello: Callable[[], worker_service_pb2.Hello],
        on_welcome: Callable[[worker_service_pb2.Welcome], None],
        on_message: Callable[[ConnectResponse], None],
    ) -> None:
        """Prepare.

        Args:
            transport: opens the streams.
            ledger: what is owed.
            changes: pulses when there may be something to send.
            clock: for waits and leases.
            random: jitter.
            hello: makes the first message of a stream, leases included.
            on_welcome: told of every Welcome, after the ledger.
            on_message: given every other message.
        """
        self.welcomed = False
        self._transport = transport
        self._ledger = ledger
        self._changes = changes
        self._clock = clock
        self._random = random
        self._hello = hello
        self._on_welcome = on_welcome
        self._on_message = on_message
        self._ever_welcomed = False
        self._failures = 0
        self._say_again_ns = 0
        self._superseded: list[int] = []
        self._goodbye: str | None = None
        self._again = False

    async def run(self) -> None:
        """Connect, again and again, until `close` or until there is no point in it.

        Raises:
            ConnectionRefused: the server does not take this worker.
        """
        while not self._closing():
            try:
                await self._one_stream()
            except StreamEnded as ended:
                if not self._closing():
                    await self._wait_after(ended)

    def close(self, reason: str) -> None:
        """Say Goodbye on the present stream, once what is owed was sent, and open no other."""
        self._goodbye = reason
        self._changes.pulse()

    def renew(self) -> None:
        """Introduce the worker again, on a new stream, as what Hello says of it has changed; nothing owed is lost."""
        self._again = True
        self._changes.pulse()

    def _closing(self) -> bool:
        return self._goodbye is not None

    async def _one_stream(self) -> None:
        stream = await self._transport.open()
        try:
            await self._greet(stream)
            reader = asyncio.ensure_future(self._receive(stream))
            sender = asyncio.ensure_future(self._send(stream))
            try:
                await asyncio.wait((reader, sender), return_when=asyncio.FIRST_COMPLETED)
                # The reader knows the status of a stream that has ended, so it is asked first.
                if reader.done():
                    reader.result()
                if sender.done():
                    sender.result()
            finally:
                await settle(reader, sender)
                # As in `within`: a stream that has ended is to take its connection with it.
                del reader, sender
        finally:
            self.welcomed = False
            await stream.close()

    async def _greet(self, stream: Stream) -> None:
        self._ledger.reset(self._clock.monotonic_ns())
        asked_ns = self._clock.monotonic_ns()
        try:
            answer = await within(self._clock, WELCOME_WITHIN_S, self._ask(stream))
        except TimeoutError:
            raise _lost("the server does not answer") from None
        if answer.WhichOneof("message") != "welcome":
            raise _lost("the server does not begin with Welcome")
        self._ledger.welcome(answer.welcome, asked_ns, self._clock.monotonic_ns())
        self.welcomed = self._ever_welcomed = True
        self._failures = 0
        self._on_welcome(answer.welcome)

    async def _ask(self, stream: Stream) -> ConnectResponse:
        self._again = False
        await stream.send(ConnectRequest(hello=self._hello()))
        return await stream.receive()

    async def _receive(self, stream: Stream) -> None:
        while True:
            self._on_message(await stream.receive())

    async def _send(self, stream: Stream) -> None:
        while True:
            now_ns = self._clock.monotonic_ns()
            if self._silent(now_ns):
                # The connection may be fine and the server still not: only an answer to a beat proves that it lives.
                raise _lost("the server does not answer heartbeats")
            for request in self._ledger.take(now_ns):
                await self._send_within(stream, request)
            if self._goodbye is not None:
                await self._part(stream, self._goodbye)
                return
            if self._again:
                return
            due_ns = min(self._ledger.due_ns(), self._silent_at_ns(now_ns))
            await self._changes.until(
                lambda: self._closing() or self._again or self._ledger.due_ns() <= self._clock.monotonic_ns(),
                (due_ns - self._clock.monotonic_ns()) / NS,
            )

    async def _send_within(self, stream: Stream, request: ConnectRequest) -> None:
        try:
            await within(self._clock, self._patience_ns() / NS, stream.send(request))
        except TimeoutError:
            raise _lost("the server does not read") from None

    async def _part(self, stream: Stream, reason: str) -> None:
        goodbye = ConnectRequest(goodbye=worker_service_pb2.Goodbye(reason=reason))
        await self._send_within(stream, goodbye)
        await stream.finish()
        # The server ends the stream once it has read this; closing before could overtake what was sent.
        try:
            await within(self._clock, GOODBYE_WITHIN_S, self._changes.until(lambda: False))
        except TimeoutError:
            return

    def _patience_ns(self) -> int:
        """How long a live server may take to answer: part of the shortest lease, within bounds."""
        shortest = self._ledger.shortest_lease_ns()
        if shortest is None:
            return LONGEST_SILENCE_NS
        return min(LONGEST_SILENCE_NS, max(SHORTEST_SILENCE_NS, shortest // 2))

    def _silent_at_ns(self, now_ns: int) -> int:
        since_ns = self._ledger.unanswered_ns
        return (now_ns if since_ns is None else since_ns) + self._patience_ns()

    def _silent(self, now_ns: int) -> bool:
        return self._ledger.unanswered_ns is not None and now_ns >= self._silent_at_ns(now_ns)

    async def _wait_after(self, ended: StreamEnded) -> None:
        now_ns = self._clock.monotonic_ns()
        if ended.reason == "WORKER_CLONED":
            raise ConnectionRefused(_CLONED)
        if ended.reason == "SESSION_SUPERSEDED":
            self._superseded = [at for at in self._superseded if now_ns - at < SUPERSEDED_WITHIN_NS] + [now_ns]
            if len(self._superseded) >= SUPERSEDED_LIMIT:
                raise ConnectionRefused(_CLONED)
            wait_s = LONGEST_WAIT_S * self._random.uniform(0.5, 1.0)
        elif ended.code in _REFUSALS:
            if not self._ever_welcomed:
                raise ConnectionRefused(f"the server refuses this worker: {ended}")
            wait_s = REFUSED_WAIT_S * self._random.uniform(0.5, 1.0)
        else:
            wait_s = self._backoff_s()
        self._say(ended, wait_s, now_ns)
        await self._changes.until(self._closing, wait_s)

    def _say(self, ended: StreamEnded, wait_s: float, now_ns: int) -> None:
        """Say that there is no connection: at once, then now and again."""
        if self._failures <= 1 or now_ns >= self._say_again_ns:
            self._say_again_ns = now_ns + SAY_AGAIN_NS
            log.warning("disconnected", why=str(ended), again_in_s=round(wait_s, 2), jobs=len(self._ledger.holdings()))

    def _backoff_s(self) -> float:
        """Full jitter: anything up to a bound that doubles, and never a large part of a lease that is held."""
        bound_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._failures, 16))
        self._failures += 1
        shortest = self._ledger.shortest_lease_ns()
        if shortest is not None:
            bound_s = min(bound_s, shortest / NS / 3)
        return self._random.uniform(0.0, bound_s)


_CLONED = (
    "another process uses the same worker id and token: the two take the stream from each other; "
    "give each its own --work-dir (or --worker-id)"
)


def _lost(message: str) -> StreamEnded:
    return StreamEnded(code="UNAVAILABLE", reason="", message=message)
