"""The handler over the memory store: all or none, repeats, lost races, and what observers hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tenure.controlplane.handler import Change, Handler, RequestKey, Step
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job
from tenure.domain.states import Phase, State
from tenure.runtime.ids import Ids
from tenure.store.memory import MemoryStore
from tenure.store.open import open_store
from tenure.store.store import Append, Committed, StorageFull, Store, Unit
from tests.fakes import FakeClock, SequenceIds

HOUR = 3_600_000_000


def creation(**changes: object) -> e.JobCreated:
    event = e.JobCreated(
        specification=b"",
        specification_digest=b"d",
        allow_duplicate=True,
        created_by="user",
        project="",
        queue="default",
        priority=0,
        terms=e.Terms(time_allocation_us=5 * HOUR, basis=e.Basis.CREATED),
        command="true",
        arguments=(),
    )
    return replace(event, **changes)  # type: ignore[arg-type]


class FullStore(MemoryStore):
    """A store that begins no transaction while it is `full`."""

    full = False

    async def commit(self, unit: Unit) -> Committed:
        if self.full:
            raise StorageFull("no room")
        return await super().commit(unit)


class HeldDisk:
    """A disk that writes nothing while it may not `go_on`; `begun` is set while it waits."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def flush(self, events: int) -> None:
        if not self.go_on.is_set():
            self.begun.set()
            await self.go_on.wait()


class Bench:
    """A handler with everything it needs, and short words for its calls."""

    def __init__(self, store: Store, clock: FakeClock, ids: Ids) -> None:
        self.store, self.clock = store, clock
        self.handler = Handler(store, clock, ids)
        self.changes: list[Change] = []
        self.handler.observe(self.changes.append)

    async def job(self, **changes: object) -> str:
        executed = await self.handler.create([creation(**changes)], actor="user:user")
        job = executed.jobs[0]
        assert isinstance(job, Job)
        return job.id

    async def extend(self, job_id: str, by_us: int = HOUR, key: RequestKey | None = None) -> Job:
        steps = [Step(job_id=job_id, command=c.Extend(requested_us=by_us))]
        executed = await self.handler.execute(steps, actor="user:user", request=key, answer=lambda jobs: b"extended")
        job = executed.jobs[0] if executed.jobs else await self.handler.get(job_id)
        assert isinstance(job, Job)
        return job

    async def payloads(self, job_id: str) -> list[str]:
        events = await self.store.read_stream(e.job_stream(job_id), 0, 1000)
        return [type(event.payload).__name__ for event in events]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = FakeClock()
    store = await open_store("memory:", clock=clock, on_fatal=lambda error: None)
    yield Bench(store, clock, SequenceIds("62348"))
    await store.close()


def key(digest: bytes = b"1") -> RequestKey:
    return RequestKey(principal="user:user", rpc="ExtendJobs", request_id="r-1", digest=digest)


async def test_jobs_take_their_ids_before_any_event_does(bench: Bench) -> None:
    assert await bench.job() == "62348"


async def test_concurrent_extensions_add_up(bench: Bench) -> None:
    job_id = await bench.job()
    await asyncio.gather(*(bench.extend(job_id) for _ in range(20)))
    job = await bench.handler.get(job_id)
    assert job is not None
    assert job.granted_us == 20 * HOUR
    assert job.expires_us == job.origin.created_us + 25 * HOUR


async def test_two_steps_on_one_job_see_each_other(bench: Bench) -> None:
    job_id = await bench.job()
    steps = [Step(job_id=job_id, command=c.Extend(requested_us=HOUR))] * 2
    executed = await bench.handler.execute(steps, actor="user:user")
    granted = [job.granted_us for job in executed.jobs if isinstance(job, Job)]
    assert granted == [HOUR, 2 * HOUR]


async def test_one_refused_step_undoes_all(bench: Bench) -> None:
    first, second = await bench.job(), await bench.job()
    await bench.handler.execute([Step(job_id=second, command=c.Terminate())], actor="user:user")
    steps = [
        Step(job_id=job_id, command=c.Extend(requested_us=HOUR), path=f"items[{i}]")
        for i, job_id in enumerate((first, second))
    ]
    with pytest.raises(Refused) as refused:
        await bench.handler.execute(steps, actor="user:user")
    assert refused.value.reason is Reason.JOB_FINAL
    assert refused.value.field == "items[1]"
    assert await bench.payloads(first) == ["JobCreated"]


async def test_a_job_that_is_not_there_is_named_by_its_place(bench: Bench) -> None:
    job_id, hidden = await bench.job(), await bench.job()
    for other in (
        Step(job_id="unknown", command=c.Tick(), path="items[1]"),
        Step(job_id=hidden, command=c.Tick(), path="items[1]", may_see=lambda job: False),
    ):
        with pytest.raises(Refused) as refused:
            await bench.handler.execute([Step(job_id=job_id, command=c.Tick(), path="items[0]"), other], actor="user:a")
        assert (refused.value.reason, refused.value.field) == (Reason.JOB_NOT_FOUND, "items[1]")


async def test_partial_steps_stand_alone(bench: Bench) -> None:
    first, second = await bench.job(), await bench.job()
    steps = [
        Step(job_id=first, command=c.Succeed(lease_id="no")),
        Step(job_id="unknown", command=c.Tick()),
        Step(job_id=second, command=c.Terminate()),
    ]
    executed = await bench.handler.execute(steps, actor="worker:w", partial=True)
    reasons = [one.reason if isinstance(one, Refused) else one.state for one in executed.jobs]
    assert reasons == [Reason.LEASE_LOST, Reason.JOB_NOT_FOUND, State.SUCCESS]


async def test_a_repeat_gets_the_same_answer_and_changes_nothing(bench: Bench) -> None:
    job_id = await bench.job()
    answers = await asyncio.gather(*(bench.extend(job_id, key=key()) for _ in range(100)))
    assert {job.granted_us for job in answers} == {HOUR}
    assert await bench.payloads(job_id) == ["JobCreated", "JobExtended"]


async def test_a_repeat_is_answered_even_when_the_job_has_ended(bench: Bench) -> None:
    job_id = await bench.job()
    await bench.extend(job_id, key=key())
    await bench.handler.execute([Step(job_id=job_id, command=c.Terminate())], actor="user:user")
    steps = [Step(job_id=job_id, command=c.Extend(requested_us=HOUR))]
    executed = await bench.handler.execute(steps, actor="user:user", request=key(), answer=lambda jobs: b"other")
    assert executed.repeated
    assert executed.answer == b"extended"


async def test_a_repeat_beside_its_first_try_is_no_second_change(bench: Bench) -> None:
    """The first try uses up what there is to grant while the second waits for the job."""
    terms = e.Terms(time_allocation_us=5 * HOUR, basis=e.Basis.CREATED, max_time_allocation_us=6 * HOUR)
    job_id = await bench.job(terms=terms)
    first, second = await asyncio.gather(bench.extend(job_id, key=key()), bench.extend(job_id, key=key()))
    assert first == second
    assert (await bench.payloads(job_id)).count("JobExtended") == 1


async def test_a_repeated_creation_is_answered_even_when_the_disk_is_full() -> None:
    store = FullStore()
    handler = Handler(store, FakeClock(), SequenceIds("62348"))
    first = await handler.create([creation()], actor="user:user", request=key(), answer=lambda ids: ids[0].encode())
    store.full = True
    again = await handler.create([creation()], actor="user:user", request=key(), answer=lambda ids: b"another")
    assert (again.answer, again.position, again.repeated) == (b"62348", first.position, True)
    with pytest.raises(StorageFull):
        await handler.create([creation()], actor="user:user", request=replace(key(), request_id="r-2"))
    await store.close()


async def test_a_request_id_with_another_body_is_refused(bench: Bench) -> None:
    job_id = await bench.job()
    await bench.extend(job_id, key=key())
    with pytest.raises(Refused) as refused:
        await bench.extend(job_id, key=key(b"2"))
    assert refused.value.reason is Reason.REQUEST_ID_REUSED


async def test_a_refused_call_burns_no_request_id(bench: Bench) -> None:
    job_id = await bench.job(terms=e.Terms())
    with pytest.raises(Refused):
        await bench.extend(job_id, key=key())
    other = await bench.job()
    assert (await bench.extend(other, key=key())).granted_us == HOUR


async def test_a_lost_race_is_decided_again(bench: Bench) -> None:
    job_id = await bench.job()
    await bench.extend(job_id)
    job = await bench.handler.get(job_id)
    assert job is not None
    # Another server extends the job behind this handler's back.
    late = e.NewEvent(
        event_id="other", time_us=job.last_us, actor="user:user", payload=e.JobExtended(requested_us=HOUR)
    )
    moved = replace(job, version=job.version + 1, granted_us=2 * HOUR, expires_us=(job.expires_us or 0) + HOUR)
    append = Append(stream=e.job_stream(job_id), expected_version=job.version, events=(late,), job=moved)
    await bench.store.commit(Unit(appends=(append,)))
    assert (await bench.extend(job_id)).granted_us == 3 * HOUR


async def test_a_late_command_brings_the_expiry_to_light(bench: Bench) -> None:
    job_id = await bench.job()
    bench.clock.freeze(5 * 3600 + 0.9)
    with pytest.raises(Refused) as refused:
        await bench.extend(job_id)
    assert refused.value.reason is Reason.JOB_FINAL
    job = (await bench.store.load_jobs([job_id]))[job_id].job
    assert job.outcome is e.Outcome.EXPIRED
    assert job.ended_us == job.origin.created_us + 5 * HOUR
    events = await bench.store.read_stream(e.job_stream(job_id), 1, 10)
    assert [event.actor for event in events] == ["server"]


async def test_a_cancelled_caller_leaves_a_whole_change(bench: Bench) -> None:
    job_id = await bench.job()
    bench.changes.clear()
    call = asyncio.ensure_future(bench.extend(job_id))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await bench.handler.finish()
    assert await bench.payloads(job_id) == ["JobCreated", "JobExtended"]
    assert [type(one.payload).__name__ for change in bench.changes for one in change.events] == ["JobExtended"]


async def test_what_takes_too_long_is_given_up_and_what_is_being_committed_is_committed() -> None:
    disk = HeldDisk()
    store = MemoryStore(disk=disk)
    bench = Bench(store, FakeClock(), SequenceIds())
    job_id = await bench.job()
    disk.go_on.clear()
    calls = [asyncio.ensure_future(bench.extend(job_id)) for _ in range(3)]  # one commits, the others wait for it
    await disk.begun.wait()
    async with asyncio.timeout(20):
        await bench.handler.finish(0.01)
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in ended] == [asyncio.CancelledError] * 3
    disk.go_on.set()
    await store.close()
    assert await bench.payloads(job_id) == ["JobCreated", "JobExtended"]


async def test_observers_hear_of_each_change_once_and_in_order(bench: Bench) -> None:
    job_id = await bench.job()
    await asyncio.gather(*(bench.extend(job_id) for _ in range(10)))
    versions = [change.after.version for change in bench.changes]
    assert versions == list(range(1, 12))
    assert all(change.before is None or change.before.version + 1 == change.after.version for change in bench.changes)


async def test_duplicates_name_the_item_and_the_live_job(bench: Bench) -> None:
    job_id = await bench.job()
    with pytest.raises(Refused) as refused:
        await bench.handler.create(
            [creation(specification_digest=b"new"), creation(allow_duplicate=False)], actor="user:user"
        )
    assert refused.value.reason is Reason.DUPLICATE_JOB
    assert refused.value.field == "items[1].specification"
    assert refused.value.metadata == {"job_id": job_id}


async def test_duplicates_within_one_call_name_no_job_that_was_never_made(bench: Bench) -> None:
    new = creation(specification_digest=b"new", allow_duplicate=False)
    with pytest.raises(Refused) as refused:
        await bench.handler.create([creation(), new, new], actor="user:user")
    assert refused.value.reason is Reason.DUPLICATE_JOB
    assert refused.value.field == "items[2].specification"
    assert refused.value.metadata == {}
    assert "items[1]" in refused.value.message


async def test_a_queue_is_configured_once(bench: Bench) -> None:
    await bench.handler.load()
    first = await bench.handler.configure_queue("gpu", e.QueueConfigured(), actor="admin:a")
    again = await bench.handler.configure_queue("gpu", e.QueueConfigured(), actor="admin:a")
    assert first is again
    changed = await bench.handler.configure_queue("gpu", e.QueueConfigured(basis=e.Basis.CREATED), actor="admin:a")
    assert changed.version == 2
    assert (await bench.store.load_queues())["gpu"] == changed


async def test_a_job_is_final_once(bench: Bench) -> None:
    job_id = await bench.job()
    for _ in range(2):
        executed = await bench.handler.execute([Step(job_id=job_id, command=c.Terminate())], actor="user:user")
        assert [job.phase for job in executed.jobs if isinstance(job, Job)] == [Phase.FINAL]
    assert await bench.payloads(job_id) == ["JobCreated", "JobTerminated"]


async def test_queues_are_configured_together_and_a_repeat_changes_nothing(bench: Bench) -> None:
    request = RequestKey(principal="admin:a", rpc="UpsertQueues", request_id="r", digest=b"1")
    changes = {"gpu": e.QueueConfigured(), "cpu": e.QueueConfigured(basis=e.Basis.CREATED)}
    first = await bench.handler.configure_queues(changes, actor="admin:a", request=request)
    again = await bench.handler.configure_queues(changes, actor="admin:a", request=request)
    assert (again.repeated, again.position) == (True, first.position)
    other = RequestKey(principal="admin:a", rpc="UpsertQueues", request_id="r", digest=b"2")
    with pytest.raises(Refused) as refused:
        await bench.handler.configure_queues({}, actor="admin:a", request=other)
    assert refused.value.reason is Reason.REQUEST_ID_REUSED
    assert await bench.store.load_queues() == bench.handler.queues
