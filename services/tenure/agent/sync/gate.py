"""The gate that every write to an object store passes: a worker that lost its lease writes nothing more.

The gate belongs to one attempt and is worked by the lease clock of the agent. The store implementations ask it before
each request that writes (each part of a multipart upload is one), and end the request before the instant it answers.
"""

from __future__ import annotations

from typing import Protocol


class FencedOff(Exception):
    """The attempt is over for good: it may never write to the store again."""


class WriteGate(Protocol):
    """Says until when an attempt may write to the store."""

    async def enter(self, at_least_s: float) -> int:
        """Wait until the attempt may write for `at_least_s` more seconds.

        Args:
            at_least_s: Seconds that one request needs at the least. An open gate with less time left counts as closed.

        Returns:
            The instant (`Clock.monotonic_ns`) from which the attempt may no longer write; a request has to be over by
            then. Later acknowledgements do not prolong a request that has begun.

        Raises:
            FencedOff: The attempt is over; waiting would be in vain.
        """
