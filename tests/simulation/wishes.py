"""What clients wish: jobs of all kinds, more time, less, an end, a look; one thing after the other or all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from tenure.v1 import admin_service_pb2, job_pb2, job_service_pb2, queue_service_pb2
from tests.simulation.client import Caller
from tests.simulation.history import Refusal
from tests.simulation.loop import NS
from tests.simulation.plan import Wave
from tests.simulation.server import QUEUES

if TYPE_CHECKING:
    from tests.simulation.world import World

BUCKET = "data"


def span(seconds: float) -> Duration:
    """Seconds as a message."""
    message = Duration()
    message.FromMicroseconds(round(seconds * 1_000_000))
    return message


class Wishes:
    """The life of one client."""

    def __init__(self, world: World, caller: Caller) -> None:
        self._world = world
        self._caller = caller
        self._random = caller.random
        self._count = 0
        self.watches: list[asyncio.Task[None]] = []

    async def live(self) -> None:
        """Wish for things, one after the other, until there are no more wishes or the faults are over."""
        plan = self._caller.plan
        async with asyncio.TaskGroup() as group:
            if self._world.plan.wave is not None and self._caller is self._world.callers[-1]:
                group.create_task(self._wave(self._world.plan.wave), name="wave")
            if self._random.random() < 0.4:
                kind = "events" if self._caller.admin else "job"
                self._watch(group, kind, "")
            for number in range(plan.operations):
                pause_s = self._random.expovariate(1 / plan.pace_s) if number else self._random.random()
                left_ns = max(0, self._world.plan.heal_ns - self._world.schedule.now_ns)
                await asyncio.sleep(min(pause_s, left_ns / NS + 0.001))
                if self._world.healed:
                    break
                together = self._random.randint(2, 4) if self._random.random() < plan.storm else 1
                for _ in range(together):
                    group.create_task(self._one(group)(), name="wish")

    def _one(self, group: asyncio.TaskGroup) -> Callable[[], Coroutine[Any, Any, None]]:
        """The next wish."""
        pick = self._random.random()
        jobs = self._known()
        if not jobs or pick < 0.3:
            if len(self._world.jobs) < self._world.plan.jobs:
                return lambda: self._create(group)
            pick = 0.3 + 0.7 * self._random.random()
        if not jobs:
            return self._browse
        if pick < 0.5:
            return self._extend
        if pick < 0.65:
            return self._terminate
        if pick < 0.8:
            return self._retrieve
        if pick < 0.86:
            return self._browse
        if pick < 0.92 and len(self._world.history.watches) < 4:
            job_id = self._random.choice(jobs)

            async def watch() -> None:
                self._watch(group, "job", job_id)

            return watch
        if self._caller.admin:
            return self._stop if pick > 0.97 else self._pause
        return self._retrieve

    def _known(self) -> list[str]:
        """Jobs that this client may name."""
        return [
            job_id
            for job_id, subject in self._world.jobs.items()
            if subject == self._caller.subject or self._caller.admin
        ]

    def _request_id(self) -> str:
        if self._random.random() < self._caller.plan.careless:
            return ""
        self._count += 1
        return f"{self._caller.name}-r{self._count}"

    def _watch(self, group: asyncio.TaskGroup, kind: str, job_id: str) -> None:
        slow = self._random.choice((0.0, 0.0, 2.0, 20.0))
        work = self._caller.watch(kind, job_id, pause_s=slow, room=self._random.choice((1, 4, 64)))
        group.create_task(work, name="watch")

    async def _create(self, group: asyncio.TaskGroup) -> None:
        world, random = self._world, self._random
        count = min(random.choice((1, 1, 1, 2, 3)), world.plan.jobs - len(world.jobs))
        if count < 1:
            return
        items = [job_service_pb2.CreateJobsRequest.Item(specification=self._specification()) for _ in range(count)]
        request = job_service_pb2.CreateJobsRequest(items=items, request_id=self._request_id())
        if random.random() < 0.03:
            request.validate_only = True
        answer: Any = await self._caller.wish("CreateJobs", request)
        if answer is not None and not isinstance(answer, Refusal) and not request.validate_only:
            for item in answer.responses:
                world.jobs[item.id] = self._caller.subject
            if world.plan.read_s and answer.responses and len(world.history.watches) < 6:
                # What is created is followed at once, or all of it: snapshots that are read while much changes.
                self._watch(group, "job", random.choice(("", answer.responses[0].id)))

    async def _wave(self, wave: Wave) -> None:
        """Many jobs at once, which any worker may run, and which go on until the faults are over or longer."""
        random = Random(f"{self._world.plan.seed}/wave")
        await asyncio.sleep(wave.at_s)
        items = [
            job_service_pb2.CreateJobsRequest.Item(specification=_long(random, f"wave{number}", wave.interval_s))
            for number in range(wave.jobs)
        ]
        request = job_service_pb2.CreateJobsRequest(items=items, request_id=f"{self._caller.name}-wave")
        answer: Any = await self._caller.wish("CreateJobs", request)
        if answer is not None and not isinstance(answer, Refusal):
            for item in answer.responses:
                self._world.jobs[item.id] = self._caller.subject

    def _specification(self) -> job_pb2.JobSpecification:
        random = self._random
        twin = random.random() < 0.15
        key = f"twin{random.randrange(2)}" if twin else f"{self._caller.name}.{random.randrange(1 << 32):x}"
        style = Random(key) if twin else random
        return specification(style, key, twin=twin, kinds=self._world.plan.kinds)

    async def _extend(self) -> None:
        jobs = self._known()
        chosen = [self._random.choice(jobs) for _ in range(self._random.choice((1, 1, 1, 2)))]
        items = [
            job_service_pb2.ExtendJobsRequest.Item(
                job_id=job_id, requested_time=span(self._random.choice((1, 10, 30, 60, 120, 3000)))
            )
            for job_id in chosen
        ]
        request = job_service_pb2.ExtendJobsRequest(items=items, request_id=self._request_id())
        await self._caller.wish("ExtendJobs", request)

    async def _terminate(self) -> None:
        item = job_service_pb2.TerminateJobsRequest.Item(id=self._random.choice(self._known()), reason="enough")
        if self._random.random() < 0.5:
            item.grace_period.CopyFrom(span(self._random.choice((0, 1, 5, 30))))
        request = job_service_pb2.TerminateJobsRequest(items=[item], request_id=self._request_id())
        await self._caller.wish("TerminateJobs", request)

    async def _retrieve(self) -> None:
        job_id = self._random.choice(self._known())
        flags = job_service_pb2.JobFlags(include_updates=True)
        await self._caller.wish("RetrieveJob", job_service_pb2.RetrieveJobRequest(id=job_id, flags=flags))

    async def _browse(self) -> None:
        request = job_service_pb2.BrowseJobsRequest(page_size=self._random.choice((2, 50)))
        while True:
            answer: Any = await self._caller.wish("BrowseJobs", request)
            if answer is None or isinstance(answer, Refusal) or not answer.next_page_token:
                return
            request = job_service_pb2.BrowseJobsRequest(page_size=request.page_size, page_token=answer.next_page_token)

    async def _pause(self) -> None:
        if not self._world.plan.pauses:
            return
        await self.pause(self._random.choice(QUEUES), paused=self._random.random() < 0.5)

    async def pause(self, name: str, *, paused: bool) -> bool:
        """Pause or resume a queue; whether that was acknowledged."""
        items = [queue_service_pb2.PauseQueuesRequest.Item(name=name, paused=paused)]
        request = queue_service_pb2.PauseQueuesRequest(items=items, request_id=self._request_id())
        answer = await self._caller.wish("PauseQueues", request)
        return answer is not None and not isinstance(answer, Refusal)

    async def explain(self, job_ids: list[str]) -> None:
        """Ask why jobs wait."""
        for job_id in job_ids:
            await self._caller.wish("ExplainJob", job_service_pb2.ExplainJobRequest(id=job_id), tries=5)

    async def _stop(self) -> None:
        request = admin_service_pb2.StopJobsRequest(
            ids=[self._random.choice(self._known())], reason="maintenance", request_id=self._request_id()
        )
        await self._caller.wish("StopJobs", request)


def specification(random: Random, key: str, *, twin: bool, kinds: tuple[str, ...]) -> job_pb2.JobSpecification:
    """A job of some kind; `key` names its objects in the store."""
    steps, each = random.randint(1, 6), random.choice((0.3, 2.0, 5.0, 12.0))
    words = [f"steps={steps}", f"each={each:g}"]
    trouble = random.random()
    if trouble < 0.08:
        words.append(f"fail={random.randint(1, 3)}")
    elif trouble < 0.12:
        words.append(f"crash={random.randint(1, 2)}")
    elif trouble < 0.17 and "agent.crash" in kinds:
        words.append(f"poison={random.randint(1, 6)}")
    if random.random() < 0.15:
        words.append(f"deaf={random.randint(1, 2)}")
    spec = job_pb2.JobSpecification(
        queue=random.choice(("default", "default", "batch")),
        name=key,
        command="work",
        arguments=words,
        max_failures=random.choice((1, 1, 2)),
        heartbeat_interval=span(random.choice((2, 5, 10, 30))),
        priority=random.choice((0, 0, 5)),
        environment={"KEY": key},
    )
    if twin:
        spec.allow_duplicate_job = False
    if random.random() < 0.5:
        spec.time_allocation.CopyFrom(span(random.choice((5, 20, 60, 300))))
    if random.random() < 0.5:
        spec.termination_grace_period.CopyFrom(span(random.choice((0, 2, 10))))
    if random.random() < 0.4:
        spec.max_disconnected.CopyFrom(span(random.choice((0, 0, 10, 60))))
    if random.random() < 0.3:
        spec.retry_backoff.initial.CopyFrom(span(random.choice((0, 1, 5))))
    if random.random() < 0.4:
        _sync(spec, random, key)
    return spec


def _long(random: Random, key: str, interval_s: float) -> job_pb2.JobSpecification:
    """A job that runs for a while and does nothing else."""
    return job_pb2.JobSpecification(
        queue="default",
        name=key,
        command="work",
        arguments=[f"steps={random.randint(4, 6)}", "each=12"],
        max_failures=2,
        heartbeat_interval=span(interval_s),
        time_allocation=span(300),
        environment={"KEY": key},
    )


def _sync(spec: job_pb2.JobSpecification, random: Random, key: str) -> None:
    state = job_pb2.SyncRule(bucket=BUCKET, prefix=f"{key}/state/", local_path="state")
    out = job_pb2.SyncRule(bucket=BUCKET, prefix=f"{key}/out/", local_path="out")
    spec.sync.before.append(state)
    spec.sync.during.append(state)
    if random.random() < 0.7:
        spec.sync.after.append(out)
    spec.sync_retry_budget.CopyFrom(span(random.choice((5, 30, 600))))
