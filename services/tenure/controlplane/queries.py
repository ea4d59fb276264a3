"""From `JobFlags` to what the store filters and orders by."""

from __future__ import annotations

from tenure.controlplane.convert import STATES
from tenure.controlplane.times import from_timestamp
from tenure.controlplane.tokens import Identity
from tenure.domain.states import State
from tenure.store.store import JobFilter, JobOrder
from tenure.v1 import job_service_pb2

_STATES = {number: state for state, number in STATES.items()}


def filter_of(flags: job_service_pb2.JobFlags, identity: Identity) -> JobFilter:
    """Which jobs the flags ask for, of those that the caller may see.

    Raises:
        Refused: INVALID_FIELD for an instant that is none.
    """
    ids: frozenset[str] | None = None
    for asked in (flags.filter_ids, flags.filter_provider_ids):
        if asked:
            ids = frozenset(asked) if ids is None else ids & frozenset(asked)
    states: frozenset[State] = frozenset()
    if flags.filter_state:
        # SUSPENDED is a state that no job is ever in: it matches none.
        state = _STATES.get(flags.filter_state)
        states, ids = (frozenset({state}), ids) if state else (frozenset(), frozenset())
    return JobFilter(
        visible_to=None if identity.role == "admin" else (identity.subject, identity.project),
        ids=ids,
        states=states,
        created_by=flags.filter_created_by,
        created_after_us=from_timestamp(flags.filter_created_after, "flags.filter_created_after")
        if flags.HasField("filter_created_after")
        else None,
        created_before_us=from_timestamp(flags.filter_created_before, "flags.filter_created_before")
        if flags.HasField("filter_created_before")
        else None,
        queue=flags.filter_queue,
        application=flags.filter_application,
        product_id=flags.filter_product_id,
        product_category=flags.filter_product_category,
        product_provider=flags.filter_provider,
        hide_product_id=flags.hide_product_id,
        hide_product_category=flags.hide_product_category,
        hide_product_provider=flags.hide_provider,
        labels=tuple(sorted(flags.filter_labels.items())),
    )


def order_of(request: job_service_pb2.BrowseJobsRequest) -> JobOrder:
    """The order asked for: newest first, or the end of the time allocation nearest first."""
    expires = request.sort_by == job_service_pb2.JOB_SORT_BY_EXPIRES_AT
    descending = not expires
    if request.sort_direction:
        descending = request.sort_direction == job_service_pb2.SORT_DIRECTION_DESCENDING
    return JobOrder(expires=expires, descending=descending)
