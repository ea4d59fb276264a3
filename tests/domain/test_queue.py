"""Queues as folds, and the terms a job gets: its wishes, else its product's and its queue's, else the defaults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.domain import events as e
from tenure.domain.errors import IllegalTransition, Reason, Refused
from tenure.domain.queue import Queue, Wishes, evolve_queue, terms_for
from tests.domain.life import HOUR, T0, S

PRODUCT = e.Product(id="example-compute", category="example-compute", provider="example", basis=e.Basis.CREATED)
DEFAULT = e.QueueConfigured(products=(PRODUCT,))


def _fold(*events: e.QueueEvent) -> Queue:
    queue = None
    for n, event in enumerate(events):
        queue = evolve_queue(queue, "default", event, T0 + n)
    assert queue is not None
    return queue


# --- the fold ---


def test_a_queue_is_configured_first() -> None:
    assert _fold(DEFAULT) == Queue(name="default", version=1, configured=DEFAULT, paused=False, last_us=T0)


@pytest.mark.parametrize("event", [e.QueuePaused(reason="upgrade"), e.QueueResumed()])
def test_nothing_comes_before_that(event: e.QueueEvent) -> None:
    with pytest.raises(IllegalTransition, match=f"default begins with {type(event).__name__}"):
        evolve_queue(None, "default", event, T0)


def test_pause_and_resume() -> None:
    paused = _fold(DEFAULT, e.QueuePaused(reason="upgrade"))
    assert (paused.paused, paused.version, paused.last_us) == (True, 2, T0 + 1)
    resumed = evolve_queue(paused, "default", e.QueueResumed(), T0 + 2)
    assert (resumed.paused, resumed.version, resumed.configured) == (False, 3, DEFAULT)


def test_a_new_configuration_keeps_a_pause() -> None:
    changed = e.QueueConfigured(max_time_allocation_us=HOUR)
    queue = _fold(DEFAULT, e.QueuePaused(reason="upgrade"), changed)
    assert (queue.paused, queue.configured, queue.version) == (True, changed, 3)


@given(
    events=st.lists(
        st.builds(e.QueueConfigured, read_only=st.booleans())
        | st.builds(e.QueuePaused, reason=st.text(max_size=3))
        | st.just(e.QueueResumed()),
        max_size=20,
    )
)
def test_any_order_of_later_events_folds(events: list[e.QueueEvent]) -> None:
    queue = _fold(DEFAULT, *events)
    assert queue.version == len(events) + 1
    told = [event for event in events if not isinstance(event, e.QueueConfigured)]
    assert queue.paused == (bool(told) and isinstance(told[-1], e.QueuePaused))


# --- terms ---


def test_the_first_example() -> None:
    terms = terms_for(DEFAULT, PRODUCT, Wishes(time_allocation_us=5 * HOUR))
    assert (terms.time_allocation_us, terms.basis, terms.max_time_allocation_us) == (5 * HOUR, e.Basis.CREATED, None)
    assert terms.features.time_extension


def test_the_second_example() -> None:
    terms = terms_for(e.QueueConfigured(), None, Wishes(heartbeat_interval_us=30 * S, max_failures=3, uses_sync=True))
    assert (terms.time_allocation_us, terms.basis) == (None, e.Basis.NONE)
    assert (terms.heartbeat_interval_us, terms.max_failures) == (30 * S, 3)
    assert terms == e.Terms()


@pytest.mark.parametrize(
    ("wish", "product", "queue", "basis"),
    [
        (e.Basis.NONE, None, e.Basis.NONE, e.Basis.STARTED),
        (e.Basis.NONE, None, e.Basis.STARTED, e.Basis.STARTED),
        (e.Basis.NONE, None, e.Basis.CREATED, e.Basis.CREATED),
        (e.Basis.NONE, e.Basis.CREATED, e.Basis.STARTED, e.Basis.CREATED),
        (e.Basis.NONE, e.Basis.NONE, e.Basis.CREATED, e.Basis.CREATED),
        (e.Basis.STARTED, e.Basis.CREATED, e.Basis.CREATED, e.Basis.STARTED),
        (e.Basis.CREATED, e.Basis.STARTED, e.Basis.STARTED, e.Basis.CREATED),
    ],
)
def test_the_basis_is_wished_or_the_products_or_the_queues(
    wish: e.Basis, product: e.Basis | None, queue: e.Basis, basis: e.Basis
) -> None:
    served = None if product is None else e.Product(id="p", category="c", provider="x", basis=product)
    terms = terms_for(e.QueueConfigured(basis=queue), served, Wishes(time_allocation_us=HOUR, basis=wish))
    assert terms.basis is basis


def test_an_allocation_that_is_not_asked_for_is_the_queues_within_its_maximum() -> None:
    queue = e.QueueConfigured(default_time_allocation_us=2 * HOUR)
    assert terms_for(queue, None, Wishes()).time_allocation_us == 2 * HOUR
    assert terms_for(queue, None, Wishes()).basis is e.Basis.STARTED
    assert terms_for(queue, None, Wishes(time_allocation_us=S)).time_allocation_us == S
    capped = e.QueueConfigured(default_time_allocation_us=2 * HOUR, max_time_allocation_us=HOUR)
    assert terms_for(capped, None, Wishes()).time_allocation_us == HOUR


def test_more_than_the_queue_gives_is_refused_exactly() -> None:
    month = 30 * 24 * HOUR
    queue = e.QueueConfigured(max_time_allocation_us=month)
    assert terms_for(queue, None, Wishes(time_allocation_us=month)).max_time_allocation_us == month
    with pytest.raises(Refused) as refused:
        terms_for(queue, None, Wishes(time_allocation_us=month + 1))
    assert (refused.value.reason, refused.value.field) == (Reason.TIME_ALLOCATION_CAP, "time_allocation")
    assert refused.value.metadata == {"maximum_seconds": "2592000"}
    assert "2592000 s" in refused.value.message


@pytest.mark.parametrize(
    ("wishes", "field"), [(Wishes(uses_sync=True), "sync"), (Wishes(uses_compression=True), "compression")]
)
def test_features_that_the_queue_lacks_are_refused(wishes: Wishes, field: str) -> None:
    with pytest.raises(Refused) as refused:
        terms_for(e.QueueConfigured(features=e.Features(sync=False, compression=False)), None, wishes)
    assert (refused.value.reason, refused.value.field) == (Reason.FEATURE_UNSUPPORTED, field)
    assert terms_for(e.QueueConfigured(), None, wishes).features == e.Features()


@pytest.mark.parametrize(("product", "extension"), [(None, True), (True, True), (False, False)])
def test_a_product_may_say_otherwise_about_extension(product: bool | None, extension: bool) -> None:
    served = e.Product(id="p", category="c", provider="x", time_extension=product)
    assert terms_for(e.QueueConfigured(), served, Wishes()).features == e.Features(time_extension=extension)


def test_wishes_go_before_the_servers_defaults() -> None:
    defaults = e.Terms(
        max_failures=9, retry_initial_us=S, termination_grace_period_us=2 * S, ban_us=5, max_lost_leases=0
    )
    assert terms_for(e.QueueConfigured(), None, Wishes(), defaults) == defaults
    wishes = Wishes(
        heartbeat_interval_us=7 * S,
        max_failures=1,
        retry_initial_us=0,
        retry_maximum_us=3 * S,
        termination_grace_period_us=0,
    )
    terms = terms_for(e.QueueConfigured(), None, wishes, defaults)
    assert (terms.heartbeat_interval_us, terms.max_failures) == (7 * S, 1)
    assert (terms.retry_initial_us, terms.retry_maximum_us, terms.termination_grace_period_us) == (0, 3 * S, 0)
    assert (terms.ban_us, terms.max_lost_leases) == (5, 0)
