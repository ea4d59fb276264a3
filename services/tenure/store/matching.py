"""Whether a job is one of those that a filter means, and where it stands in an order: for engines without SQL."""

from __future__ import annotations

from tenure.domain.job import Job
from tenure.store.store import JobFilter, JobOrder

# Stands for "never" in keys; above every time that an event can have.
NEVER = 1 << 62


def matches(job: Job, wanted: JobFilter) -> bool:
    """Whether the filter means the job."""
    origin = job.origin
    facets = origin.facets
    if wanted.visible_to is not None:
        subject, project = wanted.visible_to
        if origin.created_by != subject and not (project and origin.project == project):
            return False
    if wanted.ids is not None and origin.id not in wanted.ids:
        return False
    if wanted.states and job.state not in wanted.states:
        return False
    if wanted.created_after_us is not None and origin.created_us < wanted.created_after_us:
        return False
    if wanted.created_before_us is not None and origin.created_us >= wanted.created_before_us:
        return False
    asked = (
        (wanted.created_by, origin.created_by),
        (wanted.queue, origin.queue),
        (wanted.application, facets.application_name),
        (wanted.product_id, facets.product_id),
        (wanted.product_category, facets.product_category),
        (wanted.product_provider, facets.product_provider),
    )
    if any(value and value != has for value, has in asked):
        return False
    hidden = (
        (wanted.hide_product_id, facets.product_id),
        (wanted.hide_product_category, facets.product_category),
        (wanted.hide_product_provider, facets.product_provider),
    )
    if any(value and value == has for value, has in hidden):
        return False
    return not wanted.labels or set(wanted.labels) <= set(facets.labels)


def key_of(job: Job, number: int, order: JobOrder) -> tuple[int, int]:
    """Where the job stands: pages go up by this key. `number` is the position of its JobCreated."""
    sign = -1 if order.descending else 1
    if not order.expires:
        return (0, sign * number)
    return (NEVER if job.expires_us is None else sign * job.expires_us, sign * number)
