"""How much of the server one caller may have: never all of it.

Places for calls, places for streams and memory for what is on its way are limited, and whoever finds them taken is
refused. So nobody may hold more than half of any, however many connections they open; callers without a token, who
are told apart by their address, have a small number of their own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from tenure.domain.errors import Reason, Refused


class Shares:
    """A limited number of something, of which one holder may have half.

    Args:
        limit: how many there are.
        what: their name for people, as in `open calls`.
    """

    __slots__ = ("_held", "_limit", "_most", "_taken", "_what")

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._most = (limit + 1) // 2
        self._what = what
        self._taken = 0
        self._held: dict[str, int] = {}

    def take(self, holder: str, amount: int = 1) -> None:
        """Take some.

        Raises:
            Refused: LIMIT_EXCEEDED, and nothing is taken.
        """
        held = self._held.get(holder, 0) + amount
        if self._taken + amount > self._limit:
            raise Refused(Reason.LIMIT_EXCEEDED, f"the server has too many {self._what}; try again later")
        if held > self._most:
            raise self._too_many()
        self._taken += amount
        self._held[holder] = held

    def give_back(self, holder: str, amount: int = 1) -> None:
        """Give back what was taken."""
        self._taken -= amount
        held = self._held[holder] - amount
        if held:
            self._held[holder] = held
        else:
            del self._held[holder]

    def check(self, holder: str) -> None:
        """Refuse a holder who has all they may have.

        Raises:
            Refused: LIMIT_EXCEEDED.
        """
        if self._held and self._held.get(holder, 0) >= self._most:
            raise self._too_many()

    def _too_many(self) -> Refused:
        return Refused(
            Reason.LIMIT_EXCEEDED, f"you have too many {self._what}, half of all there may be; end or read some first"
        )


class Turns:
    """So many calls of one holder are answered at a time; the others wait, in their order.

    Args:
        at_once: how many.
    """

    __slots__ = ("_at_once", "_busy", "_waiting")

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._busy: dict[str, int] = {}
        # Who waits for longest comes first; whoever gives up is forgotten at once.
        self._waiting: dict[str, OrderedDict[asyncio.Future[None], None]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def free(self, holder: str) -> bool:
        """Take a turn if one is free; whether it was."""
        busy = self._busy.get(holder, 0)
        if busy >= self._at_once:
            return False
        self._busy[holder] = busy + 1
        return True

    async def wait(self, holder: str) -> None:
        """Take a turn when one is free."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, OrderedDict())[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(holder, turn)
            else:  # it was our turn already
                self.give_back(holder)
            raise

    def give_back(self, holder: str) -> None:
        """End a turn, and hand it to whoever waits for longest."""
        while (waiting := self._waiting.get(holder)) is not None:
            turn = next(iter(waiting))
            self._forget(holder, turn)
            if not turn.done():  # else its caller was cancelled
                turn.set_result(None)
                return
        busy = self._busy[holder] - 1
        if busy:
            self._busy[holder] = busy
        else:
            del self._busy[holder]

    def _forget(self, holder: str, turn: asyncio.Future[None]) -> None:
        if (waiting := self._waiting.get(holder)) is not None:
            waiting.pop(turn, None)
            if not waiting:
                del self._waiting[holder]
