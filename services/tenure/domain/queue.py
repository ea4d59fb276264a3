"""A queue as a value, its fold, and the terms that a job gets from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from tenure.domain import events as e
from tenure.domain.errors import IllegalTransition, Reason, Refused, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The fold of one queue's stream. `last_us` is the time of its last event."""

    name: str
    version: int
    configured: e.QueueConfigured
    paused: bool = False
    last_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a specification asks for; None: not said. Spans in microseconds."""

    time_allocation_us: int | None = None
    basis: e.Basis = e.Basis.NONE
    heartbeat_interval_us: int | None = None
    max_failures: int | None = None
    retry_initial_us: int | None = None
    retry_maximum_us: int | None = None
    termination_grace_period_us: int | None = None
    uses_sync: bool = False
    uses_compression: bool = False


def evolve_queue(queue: Queue | None, name: str, event: e.QueueEvent, time_us: int) -> Queue:
    """The queue after one more event of its stream; None is "no queue yet".

    Raises:
        IllegalTransition: the stream does not begin with QueueConfigured.
    """
    if queue is None:
        if not isinstance(event, e.QueueConfigured):
            raise IllegalTransition(f"queue {name} begins with {type(event).__name__}")
        return Queue(name=name, version=1, configured=event, last_us=time_us)
    version = queue.version + 1
    match event:
        case e.QueueConfigured():
            return replace(queue, version=version, configured=event, last_us=time_us)
        case e.QueuePaused():
            return replace(queue, version=version, paused=True, last_us=time_us)
        case e.QueueResumed():
            return replace(queue, version=version, paused=False, last_us=time_us)
        case _:
            assert_never(event)


def terms_for(
    queue: e.QueueConfigured, product: e.Product | None, wishes: Wishes, defaults: e.Terms | None = None
) -> e.Terms:
    """What a job lives under: its wishes, else its product's and its queue's policy, else the defaults.

    Raises:
        Refused: TIME_ALLOCATION_CAP, FEATURE_UNSUPPORTED; `field` is relative to the specification.
    """
    base = defaults or e.Terms()
    features = queue.features
    if product is not None and product.time_extension is not None:
        features = replace(features, time_extension=product.time_extension)
    if wishes.uses_sync and not features.sync:
        raise Refused(Reason.FEATURE_UNSUPPORTED, "the job's queue does not support sync rules", field="sync")
    if wishes.uses_compression and not features.compression:
        raise Refused(Reason.FEATURE_UNSUPPORTED, "the job's queue does not support compression", field="compression")
    allocation_us = _either(wishes.time_allocation_us, queue.default_time_allocation_us)
    if allocation_us is not None and queue.max_time_allocation_us is not None:
        if wishes.time_allocation_us is None:
            allocation_us = min(allocation_us, queue.max_time_allocation_us)
        elif allocation_us > queue.max_time_allocation_us:
            most = seconds(queue.max_time_allocation_us)
            raise Refused(
                Reason.TIME_ALLOCATION_CAP,
                f"the job's queue gives at most {most} s",
                field="time_allocation",
                metadata={"maximum_seconds": most},
            )
    basis = e.Basis.NONE
    if allocation_us is not None:
        basis = wishes.basis or (product.basis if product else e.Basis.NONE) or queue.basis or e.Basis.STARTED
    return replace(
        base,
        time_allocation_us=allocation_us,
        basis=basis,
        max_time_allocation_us=queue.max_time_allocation_us,
        features=features,
        heartbeat_interval_us=_or(wishes.heartbeat_interval_us, base.heartbeat_interval_us),
        max_failures=_or(wishes.max_failures, base.max_failures),
        retry_initial_us=_or(wishes.retry_initial_us, base.retry_initial_us),
        retry_maximum_us=_or(wishes.retry_maximum_us, base.retry_maximum_us),
        termination_grace_period_us=_or(wishes.termination_grace_period_us, base.termination_grace_period_us),
    )


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _or(first: int | None, second: int) -> int:
    return second if first is None else first
