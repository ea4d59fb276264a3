"""What a store tells of work on itself. Found by importers of the port in `tenure.store.store`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of a store: the position of its last event, and its size in bytes."""

    position: int
    bytes: int


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found: `problems` in words, the first 100 of them; none means all is well."""

    position: int = 0
    events: int = 0
    commits: int = 0
    jobs: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems
