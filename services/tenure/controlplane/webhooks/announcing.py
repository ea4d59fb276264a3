"""Announcements as a whole: everything that they are made of, put together and run."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tenure.controlplane.webhooks.calling import (
    LIMIT_S,
    Caller,
    Connector,
    Resolver,
    SystemConnector,
    SystemResolver,
)
from tenure.controlplane.webhooks.delivering import Deliverer
from tenure.controlplane.webhooks.endpoints import Endpoints
from tenure.controlplane.webhooks.following import Follower
from tenure.controlplane.webhooks.payloads import Payloads
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.controlplane.webhooks.targets import TargetRules
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.store import CommitOutcomeUnknown, Store, StoreError

PURGE_EVERY_S = 3600.0
PURGED_AT_ONCE = 1000
RESTART_S = 5.0
TOO_OLD = "it had waited too long"

log = get_logger("webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """What the operator decides: where announcements may go, how often they are tried, how long they are kept."""

    targets: TargetRules = TargetRules()
    schedule: Schedule = Schedule()


class Webhooks:
    """Follows the log and delivers.

    Args:
        store: the log, and the outbox.
        clock: decides what is due.
        ids: for endpoints.
        settings: what the operator decides.
        random: gives that many random bytes, fit for secrets.
        resolver: finds addresses; the machine's where left out.
        connector: connects to them; the machine's where left out.
        limit_s: how long a call may take, in real seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        settings: WebhookSettings,
        random: Callable[[int], bytes] = os.urandom,
        resolver: Resolver | None = None,
        connector: Connector | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._schedule = settings.schedule
        self._own_resolver = SystemResolver() if resolver is None else None
        self.endpoints = Endpoints(store=store, clock=clock, ids=ids, rules=settings.targets, random=random)
        caller = Caller(
            settings.targets,
            resolver or self._own_resolver or SystemResolver(),
            connector or SystemConnector(),
            limit_s=limit_s,
        )
        self._deliverer = Deliverer(
            outbox=store.outbox,
            endpoints=self.endpoints,
            payloads=Payloads(store),
            caller=caller,
            clock=clock,
            schedule=settings.schedule,
            random=lambda: int.from_bytes(random(4), "big") / (1 << 32),
        )
        self.follower = Follower(store=store, endpoints=self.endpoints, clock=clock, on_enqueued=self._deliverer.wake)

    async def load(self) -> None:
        """Read what the store has; once, before `run` and before jobs are created.

        Raises:
            StoreError: it cannot be read.
        """
        await self.endpoints.load()
        await self.follower.load()

    async def run(self) -> None:
        """Follow and deliver, for ever."""
        async with TaskGroup() as group:
            group.create_task(self._always("deliverer", self._deliverer.run))
            group.create_task(self._always("follower", self.follower.run))
            group.create_task(self._purge())
            group.create_task(self._sweep())

    async def _always(self, part: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part, and again after a defect: jobs go on whether they are announced or not."""
        while True:
            try:
                await run()
            except Exception as error:
                if isinstance(error, CommitOutcomeUnknown) or (
                    isinstance(error, ExceptionGroup) and error.subgroup(CommitOutcomeUnknown) is not None
                ):
                    raise
                log.error("webhooks_broke", part=part, exc_info=error, retry_s=RESTART_S)
            await self._clock.sleep(RESTART_S)

    async def replay(self, numbers: list[int], hosts: set[str]) -> int:
        """Have deliveries that do not wait made again; returns how many.

        Raises:
            StoreError: as `Store.commit`.
        """
        replayed = await self._store.outbox.replay(numbers, self._clock.wall_us())
        self._deliverer.wake(hosts)
        return replayed

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, and wait for what is under way, at most so many real seconds."""
        await self._deliverer.drain(seconds)
        if self._own_resolver is not None:
            self._own_resolver.close()

    async def _purge(self) -> None:
        """Give up what waits too long, forget what was kept long enough, and finish what could not be swept."""
        outbox = self._store.outbox
        # Where one try is all there is, everything still has the time to be tried.
        age_us = max(self._schedule.max_age_us, round(PURGE_EVERY_S * 1e6))
        while True:
            await self._clock.sleep(PURGE_EVERY_S)
            now_us = self._clock.wall_us()
            try:
                # Of a host that does not answer two at a time are tried, and the rest would wait for ever.
                given_up = await outbox.expire(now_us - age_us, now_us, TOO_OLD)
                if given_up:
                    log.warning("deliveries_dead", count=given_up, why=TOO_OLD)
                while await outbox.purge(now_us - self._schedule.keep_us, PURGED_AT_ONCE) == PURGED_AT_ONCE:
                    pass
            except CommitOutcomeUnknown:
                raise
            except StoreError as error:
                log.warning("deliveries_not_purged", error=type(error).__name__)
            self.endpoints.ended.set()

    async def _sweep(self) -> None:
        """Finish what removing and disabling endpoints began, at first what was begun before."""
        while True:
            self.endpoints.ended.clear()
            try:
                await self._store.outbox.sweep()
            except CommitOutcomeUnknown:
                raise
            except StoreError as error:
                log.warning("deliveries_not_purged", error=type(error).__name__)
            await self.endpoints.ended.wait()
