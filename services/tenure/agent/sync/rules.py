"""A sync rule, read from its message: defaults filled in, expressions compiled, its folder located."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import re2
from google.protobuf import duration_pb2

from tenure.agent.sync.beneath import Place
from tenure.v1 import job_pb2

PACKED = ".gz"
"""Suffix of the key of an object that is stored gzipped."""

_QUIET_PERIOD_NS = 200_000_000
_MAX_WAIT_NS = 5_000_000_000


class RuleRefused(Exception):
    """A rule that cannot be applied, such as an expression that is not RE2."""


class Expression(Protocol):
    """A compiled RE2 expression."""

    def search(self, text: str) -> object | None:
        """The first match, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One folder kept in step with one prefix.

    `prefix` ends in a slash or is empty. `quiet_ns` and `max_wait_ns` say when a file that changes is uploaded.
    """

    bucket: str
    prefix: str
    place: Place
    absolute: bool
    pattern: Expression | None
    commit_marker: Expression | None
    quiet_ns: int
    max_wait_ns: int

    def selects(self, relative: str) -> bool:
        """Whether the file of this path is copied."""
        return self.pattern is None or self.pattern.search(_text(relative)) is not None

    def is_marker(self, relative: str) -> bool:
        """Whether the file of this path goes last."""
        return self.commit_marker is not None and self.commit_marker.search(_text(relative)) is not None

    def key(self, relative: str, *, packed: bool) -> str:
        """The key of the object that holds the file of this path."""
        return self.prefix + relative + (PACKED if packed else "")


def parse(messages: Iterable[job_pb2.SyncRule], resolve_path: Callable[[str], Place]) -> tuple[Rule, ...]:
    """The rules of one phase, in order.

    Raises:
        RuleRefused: An expression cannot be read.
        FolderRefused: From `resolve_path`.
    """
    return tuple(
        Rule(
            bucket=message.bucket,
            prefix=message.prefix if message.prefix.endswith("/") or not message.prefix else f"{message.prefix}/",
            place=resolve_path(message.local_path),
            absolute=message.local_path.startswith("/"),
            pattern=_compiled("pattern", message.pattern),
            commit_marker=_compiled("commit_marker", message.commit_marker),
            quiet_ns=_ns(message.quiet_period) if message.HasField("quiet_period") else _QUIET_PERIOD_NS,
            max_wait_ns=_ns(message.max_wait) if message.HasField("max_wait") else _MAX_WAIT_NS,
        )
        for message in messages
    )


def _text(name: str) -> str:
    """A name for an expression to look at; bytes that are no text stand as U+FFFD."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _ns(duration: duration_pb2.Duration) -> int:
    return duration.seconds * 1_000_000_000 + duration.nanos


def _compiled(name: str, expression: str) -> Expression | None:
    if not expression:
        return None
    options = re2.Options()
    options.log_errors = False  # it would print to our standard error
    try:
        compiled: Expression = re2.compile(expression, options=options)
    except re2.error:
        raise RuleRefused(f"The {name} {expression!a} is not an RE2 expression.") from None
    return compiled
