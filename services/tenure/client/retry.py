"""When a call is made again, and how long that waits.

Only UNAVAILABLE is retried: the server was not reached, is stopping, or does not know whether the change was stored.
A changing call carries the same request id each time, so that a change which was stored after all is not made twice.
Everything else is an answer, and asking again would get it again.

A change that has no request id, and would be answered differently the second time, is tried once: its caller decides.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import grpc

from tenure.client.errors import TenureError
from tenure.runtime.clock import Clock

# A stream that was open for so long had a server that served it, also where there was nothing to say.
STAYED_OPEN_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long.

    Attributes:
        attempts: tries of a unary call, and of the first connection of a stream. At least 1.
        initial_s: wait after the first failure, in seconds; doubled after each, with jitter.
        maximum_s: longest wait between tries of a unary call.
        stream_maximum_s: longest wait between connections of a stream that was connected once.
        stream_patience_s: how long such a stream may be down, counted from its drop, before its reader is told.
    """

    attempts: int = 6
    initial_s: float = 0.1
    maximum_s: float = 2.0
    stream_maximum_s: float = 5.0
    stream_patience_s: float = 3600.0


class Backoff:
    """Decides about the failures of one call; made anew for each call."""

    def __init__(self, policy: RetryPolicy, jitter: random.Random) -> None:
        self._policy = policy
        self._jitter = jitter
        self._failures = 0

    def wait_s(self, error: TenureError) -> float:
        """Seconds to wait before the next try.

        Raises:
            TenureError: the given one, when there is no next try.
        """
        self._failures += 1
        if error.code is not grpc.StatusCode.UNAVAILABLE or self._failures >= self._policy.attempts:
            raise error
        return _jittered(self._policy.initial_s, self._policy.maximum_s, self._failures, self._jitter)


class StreamBackoff:
    """Decides about the drops of one stream: patient once it was connected, like a unary call before."""

    def __init__(self, policy: RetryPolicy, jitter: random.Random, clock: Clock) -> None:
        self._policy = policy
        self._jitter = jitter
        self._clock = clock
        self._failures = 0
        self._connected = False
        self._opened_ns: int | None = None
        self._dropped_ns: int | None = None

    def heard(self) -> None:
        """A message came: the next drop is the first one again."""
        self._failures = 0
        self._connected = True
        self._dropped_ns = None

    def opened(self) -> None:
        """A stream that may have nothing to say was opened: if it stays open, that is as good as a message.

        One that could not be opened drops at once, so it does no harm to say so of it, too.
        """
        self._opened_ns = self._clock.monotonic_ns()

    def wait_s(self, error: TenureError) -> float:
        """Seconds to wait before connecting again.

        Raises:
            TenureError: the given one, when the stream is not to be connected again.
        """
        if not _dropped(error):
            raise error
        now_ns = self._clock.monotonic_ns()
        if self._opened_ns is not None and now_ns - self._opened_ns >= STAYED_OPEN_NS:
            self.heard()
        self._opened_ns = None
        self._failures += 1
        if self._dropped_ns is None:
            self._dropped_ns = now_ns
        policy = self._policy
        if not self._connected:
            if self._failures >= policy.attempts:
                raise error
            return _jittered(policy.initial_s, policy.maximum_s, self._failures, self._jitter)
        if now_ns - self._dropped_ns > policy.stream_patience_s * 1e9:
            raise error
        return _jittered(policy.initial_s, policy.stream_maximum_s, self._failures, self._jitter)


def broken_off(message: str) -> TenureError:
    """A stream that ended without saying why."""
    return TenureError(code=grpc.StatusCode.UNAVAILABLE, message=message)


def _dropped(error: TenureError) -> bool:
    """Whether the stream broke off, rather than being refused."""
    match error.code:
        case grpc.StatusCode.UNAVAILABLE:
            return True
        case grpc.StatusCode.CANCELLED:
            # Not by us, and without a reason not by a decision of the server: by a proxy, or by its stopping.
            return not error.reason
        case _:
            # We read too slowly and were cut off; everything is still there from the resume token on.
            return error.reason == "SLOW_CONSUMER"


def _jittered(initial_s: float, maximum_s: float, failures: int, jitter: random.Random) -> float:
    # 2^30 × any sensible start is over any sensible maximum: the exponent need not grow with a long outage.
    ceiling = min(maximum_s, initial_s * 2 ** min(failures - 1, 30))
    return jitter.uniform(ceiling / 2, ceiling)


def limit_of(asked_s: float | None, usual_s: float) -> float | None:
    """The deadline of one try of a unary call as gRPC takes it, in seconds; None: there is none.

    Args:
        asked_s: what this call is given; None: the usual; `math.inf`: as long as it takes.
        usual_s: what calls are given.
    """
    limit_s = usual_s if asked_s is None else asked_s
    return None if limit_s == math.inf else limit_s
