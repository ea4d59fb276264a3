"""The parameters of a request to one of the two older APIs, each asked for once by its type.

An empty one is as if it was not there; one that nobody asked for is refused, because a filter with a typing error in
its name would otherwise find everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from starlette.datastructures import QueryParams

from tenure.web.failures import Problem, invalid

T = TypeVar("T")


class Parameters:
    """All parameters of one request; `problems` are those found so far."""

    def __init__(self, parameters: QueryParams) -> None:
        self.problems: list[Problem] = []
        self._left: dict[str, str] = {}
        for name, value in parameters.multi_items():
            if name in self._left:
                self.problems.append(Problem(name[:64], "is there twice"))
            self._left[name] = value

    def take(self, name: str) -> str:
        """Text; "" when it is not there."""
        return self._left.pop(name, "")

    def whole(self, name: str, *, least: int, most: int = 2**31 - 1) -> int | None:
        """A whole number within bounds, or None."""
        text = self.take(name)
        if not text:
            return None
        # Python itself takes more for a number than people would: blanks around it, underscores, digits of any script.
        number = int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else least - 1
        if not least <= number <= most:
            self.problems.append(Problem(name, f"must be a whole number from {least} to {most}"))
            return None
        return number

    def flag(self, name: str) -> bool | None:
        """True, false or None."""
        text = self.take(name)
        if text not in ("", "true", "false"):
            self.problems.append(Problem(name, "must be true or false"))
        return text == "true" if text else None

    def one_of(self, name: str, values: Mapping[str, T], default: T) -> T:
        """What one of these words stands for."""
        text = self.take(name)
        if text and text not in values:
            self.problems.append(Problem(name, f"must be one of {', '.join(values)}"))
        return values.get(text, default)

    def check(self) -> None:
        """Refuse the request if something was wrong or nobody asked for it.

        Raises:
            Unacceptable: with all that was found.
        """
        self.problems += [Problem(name[:64], "there is no such parameter") for name in self._left]
        if self.problems:
            raise invalid(self.problems)
