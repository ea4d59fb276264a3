"""Addresses whose pattern is known afterwards, for counting requests by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from tenure.runtime.calls import CallFailed

PATTERN = "tenure.pattern"

# What answers a request, and what answers a refusal in the form of one door.
Answer = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[CallFailed], Response]
# Makes of both an endpoint that never raises.
Guard = Callable[[Answer, Refuse], Answer]


class Address(Route):
    """A route that leaves its pattern in the scope."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is for this request."""
        match, found = super().matches(scope)
        if match is not Match.NONE:
            found = {**found, PATTERN: self.path}
        return match, found
