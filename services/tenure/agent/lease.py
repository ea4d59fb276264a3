"""A lease as its holder sees it: until when it may write, and whether it is over.

The holder counts from the instant at which it *sent* the last beat that was acknowledged, never from the answer, so
that it always thinks its lease shorter than the server does. After `FENCE` of the lease it stops writing by itself.
Pure: instants are arguments, nanoseconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque

# A fifth of the lease is left for a clock that runs slow and for a request that is on its way.
FENCE = 0.8
SHORTEST_BEAT_NS = 50_000_000


class Lease:
    """One attempt's right to act.

    Attributes:
        length_ns: how long it lasts without an acknowledged beat.
        heard_ns: sending of the last acknowledged beat; before the first one, the instant of the assignment.
        lost: the server said that it is over; this never changes back.
    """

    def __init__(self, *, length_ns: int, now_ns: int) -> None:
        self.length_ns = length_ns
        self.heard_ns = now_ns
        self.lost = False
        # The server may count the first stretch from the assignment, so nothing is written before the first answer.
        self._confirmed = False
        self._sent: deque[int] = deque()

    def interval_ns(self, asked_ns: int) -> int:
        """How often to beat, if the server asks for this: never so seldom that one beat too late ends the lease."""
        return max(SHORTEST_BEAT_NS, min(asked_ns, self.length_ns // 2))

    def beat_sent(self, now_ns: int) -> None:
        """A beat leaves now."""
        self._sent.append(now_ns)

    def beat_acknowledged(self) -> None:
        """The oldest unanswered beat was answered: held. Answers come in the order of the beats."""
        if self._sent:
            self._renew(self._sent.popleft())

    def kept(self, asked_ns: int, length_ns: int) -> None:
        """The server answered the question of `asked_ns`, sent on connecting, with: go on."""
        self.length_ns = length_ns or self.length_ns
        self._renew(asked_ns)

    def forget_beats(self) -> None:
        """The stream is gone: what was not answered never will be."""
        self._sent.clear()

    def lose(self) -> None:
        """The server said that it is over."""
        self.lost = True

    def write_left_ns(self, now_ns: int) -> int:
        """For how long the holder may still write to the object store; 0: not now."""
        if self.lost or not self._confirmed:
            return 0
        return max(0, self.heard_ns + int(self.length_ns * FENCE) - now_ns)

    def disconnected_left_ns(self, now_ns: int, limit_ns: int) -> int:
        """For how long the command may still run without contact; at least until the lease is over. 0: stop it."""
        return max(0, self.heard_ns + max(self.length_ns, limit_ns) - now_ns)

    def _renew(self, since_ns: int) -> None:
        self.heard_ns = max(self.heard_ns, since_ns)
        self._confirmed = True
