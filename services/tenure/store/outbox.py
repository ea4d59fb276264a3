"""The store's outbox: announcements of what happens to jobs, to endpoints of their owners, until each is delivered or
given up.

It is fed from the log, behind it: `enqueue` writes the deliveries of a stretch of the log and the position that was
reached in one transaction, so that after a crash the stretch is either done or looked at again, and looking twice adds
nothing. What became of a delivery is written after it was tried: a crash in between has it tried again, with the same
id. Every engine keeps these promises; `tests/store/contract_outbox.py` checks them:

* of a job's deliveries to one endpoint, only the first that waits is ever due;
* nothing is removed but what was delivered or given up, and what belongs to a removed endpoint;
* nothing of a removed endpoint is ever due or seen again, even where the process ends before all of it is removed.

Times are wall time in integer microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

# All commits wait for a transaction of the outbox: about so many rows are changed in one, however many there are.
ROWS_AT_ONCE = 500


class DeliveryState(IntEnum):
    """What became of a delivery. The numbers are stored: never renumbered."""

    PENDING = 1
    DELIVERED = 2
    DEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret that announcements are signed with; `until_us` None: until it is replaced."""

    value: bytes = field(repr=False)
    made_us: int
    until_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an owner's jobs are announced. `event_types` empty: the usual ones. `disabled` says why nothing is sent,
    empty: it is. `secrets` are in the order in which they were made."""

    id: str
    url: str
    host: str
    created_by: str
    project: str = ""
    event_types: tuple[str, ...] = ()
    disabled: str = ""
    created_us: int = 0
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A live job's endpoint, and the number of the job's last announcement (0: there was none)."""

    endpoint_id: str
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """An event to announce: version `version` of the job's stream. `dead` says why it is not even tried, empty: it
    is."""

    endpoint_id: str
    position: int
    epoch: int
    job_id: str
    version: int
    sequence: int
    type: str
    dead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a stretch of the log adds, up to `position`. `subscriptions` are those that began or went on in it, `ended`
    the jobs that need none any more."""

    position: int
    at_us: int
    deliveries: tuple[NewDelivery, ...] = ()
    subscriptions: Mapping[str, Subscription] = field(default_factory=dict)
    ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event and an endpoint. `number` says which was made first; the number of a removed one may be given out again.
    `next_us` is when it is tried next, None: it does not wait, or an earlier one of the job does. `status` is the HTTP
    status of the last try, 0: there was none; `error` what was wrong with it."""

    number: int
    endpoint_id: str
    host: str
    position: int
    epoch: int
    job_id: str
    version: int
    sequence: int
    type: str
    state: DeliveryState
    attempts: int
    made_us: int
    next_us: int | None = None
    tried_us: int | None = None
    status: int = 0
    error: str = ""

    @property
    def id(self) -> str:
        """What receivers know it by: the same at every try."""
        return f"{self.epoch}-{self.position}-{self.endpoint_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of trying the delivery of an event to an endpoint; `next_us` is for one that goes on waiting.

    Not by its number: that may be another delivery's once it was removed.
    """

    endpoint_id: str
    position: int
    state: DeliveryState
    tried_us: int
    next_us: int | None = None
    status: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries; empty means any, `endpoint_ids` None too. `keys` are pairs of endpoint id and position."""

    endpoint_ids: frozenset[str] | None = None
    job_id: str = ""
    state: DeliveryState | None = None
    from_position: int = 0
    keys: frozenset[tuple[str, int]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many deliveries of an endpoint wait, and how many are dead."""

    pending: int = 0
    dead: int = 0


class Outbox(Protocol):
    """The port. What writes returns when it is durable and raises StorageFull, StorageReadOnly and
    CommitOutcomeUnknown as `Store.commit` does."""

    async def position(self) -> int:
        """How far the log was looked through."""

    async def endpoints(self) -> list[Endpoint]:
        """All endpoints, the oldest first."""

    async def subscriptions(self) -> dict[str, Subscription]:
        """All jobs that are announced, by id."""

    async def put_endpoints(self, endpoints: Iterable[Endpoint], position: int, at_us: int) -> None:
        """Keep endpoints, new ones and changed ones, all or none. Whatever waits for a disabled one is dead then; where
        that is much, once it is swept. The log need not be looked through up to `position`: nothing in it is for
        them."""

    async def remove_endpoints(self, ids: Iterable[str]) -> None:
        """Forget endpoints with their subscriptions and deliveries, all or none; unknown ids change nothing. From then
        on nobody sees any of it; where it is much, it takes room until it is swept."""

    async def sweep(self) -> None:
        """Finish what removing and disabling endpoints began, in small transactions."""

    async def enqueue(self, batch: Batch) -> None:
        """Take over a stretch of the log. Deliveries that are known, or whose endpoint is not, are left out."""

    async def hosts(self) -> list[str]:
        """The hosts that something waits for; perhaps some more."""

    async def due(self, host: str, limit: int) -> list[Delivery]:
        """What is to be tried next at a host, the earliest first: its time may not have come."""

    async def settle(self, tried: Sequence[Tried]) -> None:
        """Write down what came of deliveries, each counted as one more try; what follows on one that does not wait any
        more is due at once. A delivery that is gone, or was delivered before, stays so."""

    async def browse(
        self, wanted: DeliveryFilter, after: int | None, limit: int, *, descending: bool = True
    ) -> list[Delivery]:
        """Deliveries in the order in which they were made, or newest first, after the one with that number."""

    async def backlogs(self) -> dict[str, Backlog]:
        """What endpoints have not taken, by id; those that took everything are left out."""

    async def replay(self, numbers: Sequence[int], now_us: int) -> int:
        """Have deliveries that do not wait tried again, as if they were new; returns how many."""

    async def expire(self, before_us: int, now_us: int, why: str) -> int:
        """Give up all that waits and was made before then, tried or not, in small transactions; returns how many. `why`
        is for those that nothing was wrong with so far; what follows in a job is due at once."""

    async def purge(self, before_us: int, limit: int) -> int:
        """Forget some deliveries that were made before then and do not wait, at most `limit`; returns how many."""
