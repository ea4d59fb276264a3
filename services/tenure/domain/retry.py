"""How long to wait and whom to pass over. Spans in microseconds."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.domain.events import LeaseExpired, Terms

# A worker that does not take an assignment is passed over for 1 s, 2 s, 4 s … for that job.
DECLINE_FIRST_US = 1_000_000
DECLINE_MOST_US = 60_000_000

# Workers that a job remembers to avoid; the one that is to be avoided for the shortest time is forgotten first.
MAX_AVOIDED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoided:
    """A worker that does not get the job before `until_us`; `declines` grows with each assignment it did not take."""

    worker_id: str
    until_us: int
    declines: int = 0


def backoff_us(terms: Terms, failures: int) -> int:
    """The wait before the attempt that follows the n-th failure."""
    if terms.retry_initial_us <= 0:
        return 0
    return min(terms.retry_maximum_us, terms.retry_initial_us << min(failures - 1, 40))


def passed_over_us(declines_before: int) -> int:
    """For how long a worker is passed over that did not take the job so many times before."""
    return min(DECLINE_MOST_US, DECLINE_FIRST_US << min(declines_before, 10))


def avoid(avoided: tuple[Avoided, ...], one: Avoided) -> tuple[Avoided, ...]:
    """The workers to avoid and one more, in place of what was known of that one."""
    known = [*(other for other in avoided if other.worker_id != one.worker_id), one]
    if len(known) > MAX_AVOIDED:
        known.remove(min(known, key=lambda other: other.until_us))
    return tuple(known)


def lost_in_a_row(before: tuple[str, ...], event: LeaseExpired, *, lasted: bool) -> tuple[str, ...]:
    """The workers lost one after the other, after one more: a lease that lasted breaks the row.

    One that was lost together with many others neither counts nor breaks it.
    """
    if event.suspicious:
        return before if event.worker_id in before else (*before, event.worker_id)
    return () if lasted else before
