"""What every engine promises of its outbox. A subclass gives the fixture `store`, a fresh and empty one."""

from __future__ import annotations

from dataclasses import replace

from tenure.store.outbox import (
    Backlog,
    Batch,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Endpoint,
    NewDelivery,
    Secret,
    Subscription,
    Tried,
)
from tenure.store.store import Store
from tests.store.making import SECOND, T0

ANY = DeliveryFilter()
PENDING, DELIVERED, DEAD = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD


def endpoint(name: str = "e1", *, host: str = "a.example", created_by: str = "user", disabled: str = "") -> Endpoint:
    return Endpoint(
        id=name,
        url=f"https://{host}/{name}",
        host=host,
        created_by=created_by,
        project="p",
        event_types=("job.running", "job.failed"),
        disabled=disabled,
        created_us=T0,
        secrets=(Secret(value=b"old", made_us=T0, until_us=T0 + 5), Secret(value=b"new", made_us=T0 + 1)),
    )


def batch(*positions: int, job: str = "j", of: str = "e1", at_us: int = T0, dead: str = "") -> Batch:
    """Announcements of one job; its sequence goes with the position."""
    deliveries = tuple(
        NewDelivery(
            endpoint_id=of,
            position=position,
            epoch=1,
            job_id=job,
            version=position,
            sequence=position,
            type="job.running",
            dead=dead,
        )
        for position in positions
    )
    last = {job: Subscription(endpoint_id=of, sequence=max(positions))} if positions else {}
    return Batch(position=max(positions, default=0), at_us=at_us, deliveries=deliveries, subscriptions=last)


def tried(one: Delivery, state: DeliveryState, *, next_us: int | None = None, status: int = 200) -> Tried:
    return Tried(
        endpoint_id=one.endpoint_id,
        position=one.position,
        state=state,
        tried_us=T0 + SECOND,
        next_us=next_us,
        status=status,
        error="x",
    )


async def prepared(store: Store, *names: str) -> None:
    await store.outbox.put_endpoints([endpoint(name) for name in names or ("e1",)], 0, T0)


async def due(store: Store, host: str = "a.example") -> list[tuple[str, int, int | None]]:
    return [(one.job_id, one.position, one.next_us) for one in await store.outbox.due(host, 100)]


async def states(store: Store) -> list[tuple[int, str]]:
    found = await store.outbox.browse(ANY, None, 100, descending=False)
    return [(one.position, one.state.name) for one in found]


class OutboxContract:
    async def test_a_fresh_outbox_is_empty(self, store: Store) -> None:
        outbox = store.outbox
        assert await outbox.position() == 0
        assert await outbox.endpoints() == []
        assert await outbox.subscriptions() == {}
        assert await outbox.hosts() == []
        assert await outbox.due("a.example", 10) == []
        assert await outbox.browse(ANY, None, 10) == []
        assert await outbox.backlogs() == {}

    async def test_endpoints_come_back_as_they_were_given(self, store: Store) -> None:
        one, other = endpoint("e1"), endpoint("e2", created_by="other")
        await store.outbox.put_endpoints([one, other], 7, T0)
        assert await store.outbox.endpoints() == [one, other]
        assert await store.outbox.position() == 7
        changed = replace(one, event_types=(), disabled="for a reason", secrets=one.secrets[1:])
        await store.outbox.put_endpoints([changed], 0, T0)
        assert await store.outbox.endpoints() == [changed, other]
        assert await store.outbox.position() == 7

    async def test_a_secret_is_not_in_what_is_printed(self, store: Store) -> None:
        assert "new" not in repr(endpoint())

    async def test_a_stretch_of_the_log_is_taken_over_once(self, store: Store) -> None:
        await prepared(store)
        for _ in range(2):
            await store.outbox.enqueue(batch(3, 4))
        (first, second) = await store.outbox.browse(ANY, None, 10, descending=False)
        assert first == Delivery(
            number=first.number,
            endpoint_id="e1",
            host="a.example",
            position=3,
            epoch=1,
            job_id="j",
            version=3,
            sequence=3,
            type="job.running",
            state=PENDING,
            attempts=0,
            made_us=T0,
            next_us=T0,
        )
        assert first.id == "1-3-e1"
        assert (second.position, second.next_us) == (4, None)
        assert await store.outbox.position() == 4
        assert await store.outbox.subscriptions() == {"j": Subscription(endpoint_id="e1", sequence=4)}
        assert await store.outbox.hosts() == ["a.example"]

    async def test_the_position_never_goes_back(self, store: Store) -> None:
        await store.outbox.enqueue(Batch(position=9, at_us=T0))
        await store.outbox.enqueue(Batch(position=4, at_us=T0))
        assert await store.outbox.position() == 9

    async def test_nothing_is_kept_for_an_endpoint_that_is_not_there(self, store: Store) -> None:
        await store.outbox.enqueue(batch(3))
        assert await store.outbox.browse(ANY, None, 10) == []
        assert await store.outbox.subscriptions() == {}
        assert await store.outbox.position() == 3

    async def test_a_job_that_has_ended_needs_no_subscription(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3))
        await store.outbox.enqueue(Batch(position=5, at_us=T0, ended=("j", "nobody")))
        assert await store.outbox.subscriptions() == {}
        assert await due(store) == [("j", 3, T0)]

    async def test_only_the_first_that_waits_of_a_job_is_due(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3, 5))
        await store.outbox.enqueue(batch(4, job="k"))
        assert await due(store) == [("j", 3, T0), ("k", 4, T0)]
        first, _ = await store.outbox.due("a.example", 2)
        await store.outbox.settle([tried(first, PENDING, next_us=T0 + 9 * SECOND, status=500)])
        assert await due(store) == [("k", 4, T0), ("j", 3, T0 + 9 * SECOND)]
        await store.outbox.settle([tried(first, DELIVERED)])
        assert await due(store) == [("k", 4, T0), ("j", 5, T0 + SECOND)]
        (kept,) = await store.outbox.browse(DeliveryFilter(state=DELIVERED), None, 10)
        assert (kept.attempts, kept.status, kept.error, kept.tried_us, kept.next_us) == (2, 200, "x", T0 + SECOND, None)

    async def test_what_is_due_at_a_host_comes_earliest_first(self, store: Store) -> None:
        await store.outbox.put_endpoints([endpoint("e1"), endpoint("b1", host="b.example")], 0, T0)
        await store.outbox.enqueue(batch(3, job="j", at_us=T0 + 2))
        await store.outbox.enqueue(batch(4, job="k", at_us=T0 + 1))
        await store.outbox.enqueue(batch(5, job="l", of="b1"))
        assert await due(store) == [("k", 4, T0 + 1), ("j", 3, T0 + 2)]
        assert [one.job_id for one in await store.outbox.due("a.example", 1)] == ["k"]
        assert await due(store, "b.example") == [("l", 5, T0)]
        assert sorted(await store.outbox.hosts()) == ["a.example", "b.example"]

    async def test_after_a_dead_delivery_the_next_one_is_due(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3, 4))
        (first,) = await store.outbox.due("a.example", 5)
        await store.outbox.settle([tried(first, DEAD, status=500)])
        assert await due(store) == [("j", 4, T0 + SECOND)]
        assert await store.outbox.backlogs() == {"e1": Backlog(pending=1, dead=1)}

    async def test_what_was_delivered_stays_so(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3))
        (one,) = await store.outbox.due("a.example", 5)
        await store.outbox.settle([tried(one, DELIVERED)])
        await store.outbox.settle([tried(one, PENDING, next_us=T0)])
        await store.outbox.settle([replace(tried(one, DELIVERED), position=one.position + 100)])
        assert await states(store) == [(3, "DELIVERED")]
        assert await store.outbox.backlogs() == {}

    async def test_what_arrived_after_it_was_given_up_has_arrived(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3, 4))
        (one,) = await store.outbox.due("a.example", 5)
        await store.outbox.put_endpoints([endpoint(disabled="off")], 0, T0)
        assert await states(store) == [(3, "DEAD"), (4, "DEAD")]
        await store.outbox.settle([tried(one, PENDING, next_us=T0)])
        assert await states(store) == [(3, "DEAD"), (4, "DEAD")]
        await store.outbox.settle([tried(one, DELIVERED)])
        assert await states(store) == [(3, "DELIVERED"), (4, "DEAD")]
        assert await due(store) == []

    async def test_a_delivery_may_be_dead_from_the_start(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3, dead="the webhook is disabled"))
        (one,) = await store.outbox.browse(ANY, None, 10)
        assert (one.state, one.error, one.attempts, one.next_us) == (DEAD, "the webhook is disabled", 0, None)

    async def test_a_removed_endpoint_takes_everything_with_it(self, store: Store) -> None:
        await prepared(store, "e1", "e2")
        await store.outbox.enqueue(batch(3))
        await store.outbox.enqueue(batch(4, job="k", of="e2"))
        await store.outbox.remove_endpoints(["e1", "nobody"])
        assert [one.id for one in await store.outbox.endpoints()] == ["e2"]
        assert list(await store.outbox.subscriptions()) == ["k"]
        assert await states(store) == [(4, "PENDING")]

    async def test_what_came_of_a_delivery_that_is_gone_says_nothing_of_the_next_one(self, store: Store) -> None:
        # What is made next may get the number of what was removed, also when it is another owner's.
        for state in (DELIVERED, DEAD, PENDING):
            await prepared(store)
            await store.outbox.enqueue(batch(3))
            (gone,) = await store.outbox.due("a.example", 5)
            await store.outbox.remove_endpoints(["e1"])
            await store.outbox.put_endpoints([endpoint("e2", created_by="other")], 0, T0)
            await store.outbox.enqueue(batch(3, of="e2"))
            (before,) = await store.outbox.browse(ANY, None, 10)
            await store.outbox.settle([tried(gone, state, status=410)])
            assert await store.outbox.browse(ANY, None, 10) == [before]
            assert (before.endpoint_id, before.state, before.attempts) == ("e2", PENDING, 0)
            await store.outbox.remove_endpoints(["e2"])

    async def test_a_replay_begins_anew_and_in_order(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3, 4, 5))
        for state in (DEAD, DELIVERED):
            (one,) = await store.outbox.due("a.example", 5)
            await store.outbox.settle([tried(one, state)])
        assert await due(store) == [("j", 5, T0 + SECOND)]
        numbers = [one.number for one in await store.outbox.browse(ANY, None, 10)]
        assert await store.outbox.replay([*numbers, 12345], T0 + 9) == 2
        assert await due(store) == [("j", 3, T0 + 9)]
        (first, *_) = await store.outbox.browse(ANY, None, 10, descending=False)
        assert (first.attempts, first.made_us, first.error) == (0, T0 + 9, "")
        assert await store.outbox.replay(numbers, T0 + 10) == 0

    async def test_deliveries_are_browsed_by_what_they_are(self, store: Store) -> None:
        await prepared(store, "e1", "e2")
        await store.outbox.enqueue(batch(3, 4))
        await store.outbox.enqueue(batch(5, job="k", of="e2"))
        await store.outbox.enqueue(batch(6, job="k", of="e2", dead="gone"))

        async def positions(wanted: DeliveryFilter) -> list[int]:
            return [one.position for one in await store.outbox.browse(wanted, None, 10)]

        assert await positions(ANY) == [6, 5, 4, 3]
        assert await positions(DeliveryFilter(endpoint_ids=frozenset({"e2"}))) == [6, 5]
        assert await positions(DeliveryFilter(endpoint_ids=frozenset())) == []
        assert await positions(DeliveryFilter(job_id="j")) == [4, 3]
        assert await positions(DeliveryFilter(state=DEAD)) == [6]
        assert await positions(DeliveryFilter(from_position=5)) == [6, 5]
        assert await positions(DeliveryFilter(keys=frozenset({("e1", 4), ("e2", 5), ("e2", 3)}))) == [5, 4]
        assert await positions(DeliveryFilter(endpoint_ids=frozenset({"e2"}), state=PENDING)) == [5]

    async def test_deliveries_come_in_pages(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(*range(1, 8)))
        for descending in (True, False):
            seen: list[int] = []
            after: int | None = None
            while page := await store.outbox.browse(ANY, after, 3, descending=descending):
                seen += [one.position for one in page]
                after = page[-1].number
            assert seen == sorted(range(1, 8), reverse=descending)

    async def test_old_deliveries_are_forgotten_unless_they_wait(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(1, dead="x"))
        await store.outbox.enqueue(batch(2, dead="x", at_us=T0 + 1))
        await store.outbox.enqueue(batch(3))
        await store.outbox.enqueue(batch(4, dead="x", at_us=T0 + 10))
        assert await store.outbox.purge(T0 + 5, 1) == 1
        assert await states(store) == [(2, "DEAD"), (3, "PENDING"), (4, "DEAD")]
        assert await store.outbox.purge(T0 + 5, 10) == 1
        assert await store.outbox.purge(T0 + 5, 10) == 0
        assert await states(store) == [(3, "PENDING"), (4, "DEAD")]

    async def test_a_rebuild_leaves_the_outbox_as_it_is(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(batch(3))
        async for _ in store.rebuild():
            pass
        assert await due(store) == [("j", 3, T0)]
        assert await store.outbox.endpoints() == [endpoint()]
