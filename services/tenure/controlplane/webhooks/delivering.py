"""From the outbox to the endpoints: what is due is tried, and what came of it is written down.

Every host has a lane of its own, which tries two deliveries at a time and sleeps until the next one is due; a host that
does not answer at all is left alone for a while, whatever is due. A try that was made and not written down before the
process ended is made again, with the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tenure.controlplane.webhooks.calling import Answer, Caller, NotAnswered
from tenure.controlplane.webhooks.endpoints import Endpoints
from tenure.controlplane.webhooks.payloads import Gone, Payloads
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.controlplane.webhooks.settling import Settling
from tenure.controlplane.webhooks.signing import signed_headers
from tenure.controlplane.webhooks.targets import parse_target
from tenure.domain.errors import Refused
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.logs import get_logger
from tenure.store.outbox import Delivery, DeliveryState, Endpoint, Outbox, Tried
from tenure.store.store import CommitOutcomeUnknown, StoreError

PER_HOST = 2
AT_ONCE = 256
# The clock may be corrected while a lane sleeps.
LONGEST_SLEEP_S = 60.0
# How long a host is left alone that did not answer, at first and at most.
PAUSE_US, LONGEST_PAUSE_US = 1_000_000, 60_000_000
GONE = 410

log = get_logger("webhooks")


@dataclass(slots=True)
class _Lane:
    """What is under way to a host, by endpoint and job: of a job one at a time, also where that was given up
    meanwhile and the next one is due. `pause_us` is how long it is left alone next, `until_us` until when it is."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: set[tuple[str, str]] = field(default_factory=set)
    pause_us: int = PAUSE_US
    until_us: int = 0


class Deliverer:
    """Delivers what the outbox has.

    Args:
        outbox: what is to be delivered.
        endpoints: where to, and with which secrets.
        payloads: makes bodies.
        caller: makes calls.
        clock: decides what is due.
        schedule: when to try again.
        random: from 0 to 1, for the schedule.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        endpoints: Endpoints,
        payloads: Payloads,
        caller: Caller,
        clock: Clock,
        schedule: Schedule,
        random: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._endpoints = endpoints
        self._payloads = payloads
        self._caller = caller
        self._clock = clock
        self._schedule = schedule
        self._random = random
        self._settling = Settling(outbox, clock)
        self._lanes: dict[str, _Lane] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._group: TaskGroup | None = None
        self._stopping = False

    def wake(self, hosts: Iterable[str]) -> None:
        """Something has become due at these hosts."""
        if self._group is None or self._stopping:
            return  # `run` looks for all of them
        for host in hosts:
            lane = self._lanes.get(host)
            if lane is None:
                lane = self._lanes[host] = _Lane()
                self._group.create_task(self._serve(host, lane))
            lane.woken.set()

    async def run(self) -> None:
        """Deliver, for ever."""
        self._lanes.clear()
        async with TaskGroup() as group:
            self._group = group
            group.create_task(self._settling.run())
            self.wake(await self._outbox.hosts())

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, and wait for what is under way, at most so many real seconds."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                while lanes := [lane for lane in self._lanes.values() if lane.under_way]:
                    lanes[0].woken.clear()
                    await lanes[0].woken.wait()
        except TimeoutError:
            log.info("webhooks_cut_short", seconds=seconds)

    async def _serve(self, host: str, lane: _Lane) -> None:
        """Deliver to one host until nothing waits for it."""
        while not self._stopping:
            lane.woken.clear()
            due = await self._outbox.due(host, PER_HOST + len(lane.under_way))
            waits_us = self._begin(lane, [one for one in due if _of_job(one) not in lane.under_way])
            if waits_us is None and not lane.under_way and not lane.woken.is_set():
                del self._lanes[host]
                return
            await self._rest(lane, waits_us)

    def _begin(self, lane: _Lane, ready: list[Delivery]) -> int | None:
        """Begin what is due, as far as there is room; when to look again if nobody wakes the lane."""
        assert self._group is not None
        now_us = self._clock.wall_us()
        for one in ready:
            if len(lane.under_way) >= PER_HOST:
                return now_us + round(LONGEST_SLEEP_S * 1e6)
            at_us = max(one.next_us or 0, lane.until_us)
            if at_us > now_us:
                return at_us
            lane.under_way.add(_of_job(one))
            self._group.create_task(self._deliver(one, lane))
        return None

    async def _rest(self, lane: _Lane, until_us: int | None) -> None:
        """Sleep until then, or until something happens."""
        assert self._group is not None
        seconds = LONGEST_SLEEP_S
        if until_us is not None:
            seconds = min(seconds, max(0, until_us - self._clock.wall_us()) / 1e6)
        alarm = self._group.create_task(self._alarm(lane, seconds))
        try:
            await lane.woken.wait()
        finally:
            alarm.cancel()

    async def _alarm(self, lane: _Lane, seconds: float) -> None:
        await self._clock.sleep(seconds)
        lane.woken.set()

    async def _deliver(self, one: Delivery, lane: _Lane) -> None:
        try:
            async with self._places:
                tried = await self._try(one, lane)
            if tried is not None:
                await self._settling.settle(tried)
        finally:
            lane.under_way.discard(_of_job(one))
            lane.woken.set()

    async def _try(self, one: Delivery, lane: _Lane) -> Tried | None:
        """Try a delivery once; None: it is not there any more."""
        endpoint = self._endpoints.get(one.endpoint_id)
        if endpoint is None:
            return None
        if endpoint.disabled:
            return self._dead(one, endpoint.disabled)
        try:
            answer = await self._call(endpoint, one)
        except NotAnswered as failed:
            if not failed.blocked:
                lane.until_us = self._clock.wall_us() + lane.pause_us
                lane.pause_us = min(LONGEST_PAUSE_US, 2 * lane.pause_us)
            return self._failed(one, str(failed))
        except Gone:
            return self._given_up(one, "its event is no longer kept")
        except Refused as refused:
            return self._failed(one, f"blocked: {refused.message}")
        except CommitOutcomeUnknown:
            raise
        except Exception as error:
            # A defect of ours in one delivery must not end all the others, nor the server.
            log.error("delivery_broke", delivery_id=one.id, exc_info=error)
            return self._failed(one, "the server could not make it")
        lane.pause_us = PAUSE_US
        return await self._answered(one, endpoint, answer)

    async def _call(self, endpoint: Endpoint, one: Delivery) -> Answer:
        # Looked at again, because the rules may be stricter than when it was made.
        target = parse_target(endpoint.url, self._endpoints.rules)
        body = await self._payloads.body(one)
        headers = signed_headers(one.id, body, endpoint.secrets, self._clock.wall_us())
        return await self._caller.post(target, headers, body)

    async def _answered(self, one: Delivery, endpoint: Endpoint, answer: Answer) -> Tried:
        status = answer.status
        if 200 <= status < 300:
            return Tried(
                endpoint_id=one.endpoint_id,
                position=one.position,
                state=DeliveryState.DELIVERED,
                tried_us=self._clock.wall_us(),
                status=status,
            )
        if status == GONE:
            why = "the endpoint answered 410 Gone"
            await self._disable(endpoint, why)
            return self._given_up(one, why, status)
        if 300 <= status < 400:
            return self._failed(one, f"it answered {status}, and redirects are not followed", answer)
        return self._failed(one, f"it answered {status}", answer)

    async def _disable(self, endpoint: Endpoint, why: str) -> None:
        try:
            await self._endpoints.disable(endpoint.id, why)
        except CommitOutcomeUnknown:
            raise
        except StoreError as error:
            # The next delivery is told the same.
            log.warning("webhook_not_disabled", webhook_id=endpoint.id, error=type(error).__name__)

    def _failed(self, one: Delivery, why: str, answer: Answer | None = None) -> Tried:
        now_us = self._clock.wall_us()
        status, retry_after_s = (answer.status, answer.retry_after_s) if answer is not None else (0, 0)
        next_us = self._schedule.next_us(one.attempts + 1, one.made_us, now_us, self._random, retry_after_s)
        if next_us is None:
            return self._given_up(one, why, status)
        log.debug("delivery_failed", delivery_id=one.id, attempt=one.attempts + 1, why=why)
        return Tried(
            endpoint_id=one.endpoint_id,
            position=one.position,
            state=DeliveryState.PENDING,
            tried_us=now_us,
            next_us=next_us,
            status=status,
            error=why,
        )

    def _given_up(self, one: Delivery, why: str, status: int = 0) -> Tried:
        log.warning("delivery_dead", delivery_id=one.id, job_id=one.job_id, attempts=one.attempts + 1, why=why)
        return self._dead(one, why, status)

    def _dead(self, one: Delivery, why: str, status: int = 0) -> Tried:
        return Tried(
            endpoint_id=one.endpoint_id,
            position=one.position,
            state=DeliveryState.DEAD,
            tried_us=self._clock.wall_us(),
            status=status,
            error=why,
        )


def _of_job(one: Delivery) -> tuple[str, str]:
    return one.endpoint_id, one.job_id
