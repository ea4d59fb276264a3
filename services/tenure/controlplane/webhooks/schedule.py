"""When a delivery that failed is tried again, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_SECOND_US = 1_000_000
_HOUR_US = 3600 * _SECOND_US
_DAY_US = 24 * _HOUR_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Waits double from `initial_us` to `maximum_us`, each shortened by up to a half at random so that what failed
    together does not come back together. A delivery is given up when a try fails that is its last one of
    `max_attempts`, or that comes later than `max_age_us`; what is older and waits for its turn is given up every hour.
    `keep_us` is how long those that do not wait are kept.
    """

    initial_us: int = 5 * _SECOND_US
    maximum_us: int = 6 * _HOUR_US
    max_attempts: int = 20
    max_age_us: int = 3 * _DAY_US
    keep_us: int = 30 * _DAY_US

    def next_us(
        self, attempts: int, made_us: int, now_us: int, random: Callable[[], float], retry_after_s: int = 0
    ) -> int | None:
        """When to try again after so many failed tries; None: no more.

        Args:
            attempts: tries that have failed, at least 1.
            made_us: when the delivery was made.
            now_us: when the last try failed.
            random: from 0 to 1.
            retry_after_s: how long the endpoint asked to be left alone.
        """
        if attempts >= self.max_attempts or now_us - made_us >= self.max_age_us:
            return None
        wait_us = min(self.maximum_us, self.initial_us << min(attempts - 1, 40))
        wait_us = round(wait_us * (1 - random() / 2))
        return now_us + max(wait_us, min(self.maximum_us, retry_after_s * _SECOND_US))
