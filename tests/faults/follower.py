"""Somebody who follows the log with the product's client, and notes when each event came."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc.aio

from tenure.client import Client
from tenure.client.channel import OPTIONS
from tenure.events.v1 import event_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.waiting import eventually


@dataclass
class Follower:
    """What came to somebody who follows the log, or (`jobs_only`) watches all jobs.

    Attributes:
        came: the events in the order in which they came, and the instant (CLOCK_MONOTONIC, seconds).
        drops: connections that were lost on the way.
        since_s: when it began.
        ready: it is connected, and gets everything from now on.
    """

    jobs_only: bool = False
    came: list[tuple[float, event_pb2.Event]] = field(default_factory=list)
    drops: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    since_s: float = field(default_factory=lambda: time.clock_gettime(time.CLOCK_MONOTONIC))

    @property
    def events(self) -> list[event_pb2.Event]:
        """The events alone."""
        return [event for _, event in self.came]

    async def caught_up(self, caller: Caller, *, within_s: float = 30.0) -> list[str]:
        """Wait for the end of the log as it is now; what is wrong with what came until then, in words."""
        log = [event for event in await caller.events() if not self.jobs_only or event.stream.startswith("job/")]

        async def at_end() -> bool:
            return len(self.came) >= len(log)

        try:
            await eventually(at_end, "the last event", within_s=within_s)
        except AssertionError:
            return [f"only {len(self.came)} of {len(log)} events came to somebody who follows the log"]
        got = self.events[: len(log)]
        if got == log:
            return []
        at = next(n for n, (one, other) in enumerate(zip(got, log, strict=True)) if one != other)
        return [f"somebody who follows the log got position {got[at].position} where it has {log[at].position}"]


@contextlib.asynccontextmanager
async def follower(address: str, token: str, *, jobs_only: bool = False) -> AsyncIterator[Follower]:
    """Follow the log of a server from its beginning, or watch all jobs from now on."""
    told = Follower(jobs_only)

    def dropped(*_: object) -> None:
        told.drops += 1

    async def follow(client: Client) -> None:
        async for event in client.read_events(follow=True, on_drop=dropped):
            told.ready.set()
            told.came.append((time.clock_gettime(time.CLOCK_MONOTONIC), event))

    async def watch(client: Client) -> None:
        async for message in client.watch_jobs(on_drop=dropped):
            told.ready.set()
            if message.HasField("event"):
                told.came.append((time.clock_gettime(time.CLOCK_MONOTONIC), message.event.event))

    # A connection of its own: what is done to it is not done to others.
    channel = grpc.aio.insecure_channel(address, options=(*OPTIONS, ("grpc.use_local_subchannel_pool", 1)))
    async with Client(token=token, channel=channel) as client:
        task = asyncio.ensure_future(watch(client) if jobs_only else follow(client))
        try:
            yield told
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
