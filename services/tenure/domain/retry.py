"""How long to wait and whom to pass over. Spans in microseconds."""

from __future__ import annotations

from tenure.domain.events import Terms

# A worker that does not take an assignment is passed over for 1 s, 2 s, 4 s … for that job.
DECLINE_FIRST_US = 1_000_000
DECLINE_MOST_US = 60_000_000


def backoff_us(terms: Terms, failures: int) -> int:
    """The wait before the attempt that follows the n-th failure."""
    if terms.retry_initial_us <= 0:
        return 0
    return min(terms.retry_maximum_us, terms.retry_initial_us << min(failures - 1, 40))


def passed_over_us(declines_before: int) -> int:
    """For how long a worker is passed over that did not take the job so many times before."""
    return min(DECLINE_MOST_US, DECLINE_FIRST_US << min(declines_before, 10))
