"""Reading objects of the two older APIs: each value asked for by name and type, everything else reported.

A null is as if it was not there, as both APIs print nulls. What nobody asked for is reported too: a typing error in a
limit must not become "no limit".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tenure.web.failures import Problem, invalid


class Fields:
    """One object of a request.

    Args:
        value: what was sent there.
        path: where it lies in the request.
        problems: where problems are added; shared by the objects of one request.
    """

    def __init__(self, value: Any, path: str = "", problems: list[Problem] | None = None) -> None:
        self.path = path
        self.problems = problems if problems is not None else []
        self._asked: set[str] = set()
        self._values: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.report("", "must be an object")

    def report(self, name: str, description: str) -> None:
        """A field of this object cannot be used; "" for the object itself."""
        self.problems.append(Problem(self._place(name), description))

    def text(self, name: str, *, required: bool = False) -> str | None:
        """Text, or None."""
        value = self._take(name)
        if value is None and required:
            self.report(name, "is required")
        if value is None or isinstance(value, str):
            return value
        self.report(name, "must be text")
        return None

    def flag(self, name: str) -> bool | None:
        """True, false or None."""
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return value
        self.report(name, "must be true or false")
        return None

    def whole(self, name: str, *, least: int, most: int = 2**31 - 1) -> int | None:
        """A whole number within bounds, or None."""
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.report(name, f"must be a whole number from {least} to {most}")
            return None
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        value = self._take(name)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value
        self.report(name, "must be a list of texts")
        return []

    def mapping(self, name: str) -> dict[str, str]:
        """An object with text values."""
        value = self._take(name)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
            return value
        self.report(name, "must be an object with texts")
        return {}

    def inside(self, name: str) -> Fields | None:
        """An object, or None."""
        value = self._take(name)
        return None if value is None else Fields(value, self._place(name), self.problems)

    def each(self, name: str) -> Iterator[Fields]:
        """The objects of a list."""
        value = self._take(name)
        if value is None:
            return
        if not isinstance(value, list):
            self.report(name, "must be a list")
            return
        for index, one in enumerate(value):
            yield Fields(one, f"{self._place(name)}[{index}]", self.problems)

    def anything(self, name: str) -> Any:
        """Whatever is there, or None."""
        return self._take(name)

    def ignore(self, *names: str) -> None:
        """Fields that may be there and mean nothing here."""
        self._asked.update(names)

    def rest(self) -> None:
        """Report every field that nobody asked for."""
        for name in self._values:
            if name not in self._asked:
                self.report(name[:64], "there is no such field")

    def check(self) -> None:
        """Refuse the request if anything was reported.

        Raises:
            Unacceptable: with all that was reported.
        """
        if self.problems:
            raise invalid(self.problems)

    def _take(self, name: str) -> Any:
        self._asked.add(name)
        return self._values.get(name)

    def _place(self, name: str) -> str:
        return ".".join(part for part in (self.path, name) if part)
