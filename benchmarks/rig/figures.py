"""What is measured, as values: samples of a case, and what two cases make of each other.

No absolute figure of a shared machine means much. What counts is the ratio of two cases that were measured one right
after the other; it is taken for each repeat, and the median and the range of these are what is shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of one case.

    Attributes:
        value: what was measured, in the unit of its case; mostly how many a second.
        count: how many were done.
        seconds: how long it took.
        p50_ms: median time of one call, where calls were timed.
        p99_ms: 99th percentile of it.
        server_us: processor time of the measured server for each of `count`, in microseconds.
        others: processors that were busy with something else meanwhile (0 to the number of processors).
    """

    value: float
    count: int = 0
    seconds: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    server_us: float | None = None
    others: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All samples of one case. `unit` is what a value is, `how` the conditions in words."""

    name: str
    unit: str
    how: str
    samples: tuple[Sample, ...]

    def median(self, of: Callable[[Sample], float | None]) -> float | None:
        """The median of something that the samples have, None where one of them has it not."""
        values = [value for sample in self.samples if (value := of(sample)) is not None]
        return statistics.median(values) if len(values) == len(self.samples) and values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A goal and what was found: `found` has one ratio a repeat.

    Attributes:
        text: what is compared with what.
        wanted: the ratio that is the goal; None: no goal, said for information.
        at_most: the goal is an upper limit.
        found: the ratios; none where a peer is not installed.
        why_not: why there are none.
    """

    text: str
    wanted: float | None = None
    at_most: bool = False
    found: tuple[float, ...] = ()
    why_not: str = ""

    @property
    def ratio(self) -> float:
        """The median, not a number when nothing was found."""
        return statistics.median(self.found) if self.found else math.nan

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None: there is none, or nothing was found."""
        if not self.found or self.wanted is None:
            return None
        return self.ratio <= self.wanted if self.at_most else self.ratio >= self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a question came to. `goal` is the number of the goal that it is about."""

    goal: int
    series: tuple[Series, ...]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = field(default=())


def ratios(
    over: Series, under: Series, of: Callable[[Sample], float | None] = lambda sample: sample.value
) -> tuple[float, ...]:
    """Of each repeat, the one divided by the other."""
    pairs = zip(over.samples, under.samples, strict=True)
    return tuple(above / below for a, b in pairs if (above := of(a)) is not None and (below := of(b)))


def percentile(sorted_values: Sequence[float], part: float) -> float:
    """The value below which that part (0 to 1) of the sorted values lies."""
    return sorted_values[min(len(sorted_values) - 1, int(part * len(sorted_values)))]
