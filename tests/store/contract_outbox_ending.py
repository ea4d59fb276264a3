"""What every engine promises of the deliveries that nobody takes. A subclass gives the fixture `store`, a fresh one."""

from __future__ import annotations

from tenure.store.outbox import ROWS_AT_ONCE, Backlog, Batch, DeliveryFilter, NewDelivery, Subscription
from tenure.store.store import Store
from tests.store.contract_outbox import DEAD, PENDING, batch, due, endpoint, prepared, states, tried
from tests.store.making import SECOND, T0


def much(count: int, of: str = "e1", *, behind: int = 0, at_us: int = T0) -> Batch:
    """Jobs of an endpoint with an announcement each, behind a position."""
    deliveries, subscriptions = list[NewDelivery](), dict[str, Subscription]()
    for number in range(1, count + 1):
        one = batch(behind + number, of=of, job=f"{of}-{number}")
        deliveries += one.deliveries
        subscriptions.update(one.subscriptions)
    return Batch(position=behind + count, at_us=at_us, deliveries=tuple(deliveries), subscriptions=subscriptions)


class OutboxEndingContract:
    async def test_nothing_is_seen_of_a_removed_endpoint_however_much_it_has(self, store: Store) -> None:
        await prepared(store)
        await store.outbox.enqueue(much(3 * ROWS_AT_ONCE))
        await store.outbox.remove_endpoints(["e1"])
        # Also not by one that is made while much of it is left, and not when it is swept.
        await store.outbox.put_endpoints([endpoint("e2")], 0, T0)
        await store.outbox.enqueue(batch(9000, job="k", of="e2"))
        for _ in range(2):
            assert await store.outbox.endpoints() == [endpoint("e2")]
            assert await store.outbox.subscriptions() == {"k": Subscription(endpoint_id="e2", sequence=9000)}
            assert await due(store) == [("k", 9000, T0)]
            assert await states(store) == [(9000, "PENDING")]
            assert await store.outbox.backlogs() == {"e2": Backlog(pending=1)}
            assert await store.outbox.expire(T0, T0, "x") == 0
            await store.outbox.sweep()

    async def test_all_that_waits_for_a_disabled_endpoint_is_dead_however_much_it_is(self, store: Store) -> None:
        await prepared(store, "e1", "e2")
        last = 3 * ROWS_AT_ONCE
        await store.outbox.enqueue(much(last - 1))
        await store.outbox.enqueue(batch(last, of="e2", job="k"))
        await store.outbox.put_endpoints([endpoint(disabled="off")], 0, T0)
        await store.outbox.sweep()
        assert await due(store) == [("k", last, T0)]
        assert await store.outbox.backlogs() == {"e1": Backlog(dead=last - 1), "e2": Backlog(pending=1)}
        assert (await store.outbox.browse(DeliveryFilter(state=DEAD), None, 1))[0].error == "off"

    async def test_what_waits_too_long_is_given_up_tried_or_not(self, store: Store) -> None:
        await prepared(store, "e1", "e2")
        await store.outbox.enqueue(batch(1, 2))
        await store.outbox.enqueue(batch(3, 4, at_us=T0 + 5))
        await store.outbox.enqueue(batch(5, job="k", of="e2"))
        await store.outbox.enqueue(batch(6, job="l", of="e2", at_us=T0 + 5))
        (one, *_) = await store.outbox.due("a.example", 1)
        await store.outbox.settle([tried(one, PENDING, next_us=T0 + SECOND)])
        assert await store.outbox.expire(T0 + 5, T0 + 9, "too old") == 3
        assert await store.outbox.expire(T0 + 5, T0 + 9, "too old") == 0
        found = await store.outbox.browse(DeliveryFilter(state=DEAD), None, 10, descending=False)
        assert [(one.position, one.attempts, one.error) for one in found] == [
            (1, 1, "x"),
            (2, 0, "too old"),
            (5, 0, "too old"),
        ]
        # What follows in the job is due, and only the first of it.
        assert await due(store) == [("l", 6, T0 + 5), ("j", 3, T0 + 9)]
        assert await store.outbox.replay([one.number for one in found], T0 + 10) == 3
        assert await due(store) == [("l", 6, T0 + 5), ("j", 1, T0 + 10), ("k", 5, T0 + 10)]
        assert await store.outbox.expire(T0 + 5, T0 + 9, "too old") == 0

    async def test_however_much_waits_too_long_is_given_up(self, store: Store) -> None:
        await prepared(store)
        last = 2 * ROWS_AT_ONCE + 1
        await store.outbox.enqueue(much(last - 1))
        await store.outbox.enqueue(batch(last, job="e1-1", at_us=T0 + 1))
        assert await store.outbox.expire(T0 + 1, T0 + 9, "too old") == last - 1
        assert await due(store) == [("e1-1", last, T0 + 9)]
