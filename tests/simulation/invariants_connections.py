"""The connections of the workers, put together from what was said at their ends, and which took over from which.

A stream takes over when it is welcomed, not when its Hello is read: the server may have to wait in between, until it is
known of every lease that the worker names whether it is over, and it may find then that the stream is not to begin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.history import Said


@dataclass(slots=True, eq=False)
class Stream:
    """One connection of a worker, as its four ends saw it."""

    number: int
    worker_id: str
    incarnation: str
    boot: int
    server: list[Said] = field(default_factory=list)
    worker: list[Said] = field(default_factory=list)
    begun_ns: int | None = None  # the server took its Hello
    welcomed_ns: int | None = None  # the server answered that
    turn: int = 0  # of the streams that a server welcomed, which
    superseded_ns: int | None = None  # the server welcomed a newer one of the same worker

    @property
    def hello(self) -> Any:
        """How the server got to know the worker on it."""
        return next(said.message.hello for said in self.server if said.end == "server-got")  # type: ignore[attr-defined]


def streams_of(conversation: Iterable[Said]) -> dict[int, Stream]:
    """The connections of the workers, by number."""
    found: dict[int, Stream] = {}
    for said in conversation:
        stream = found.get(said.stream)
        if stream is None:
            stream = found[said.stream] = Stream(said.stream, said.worker_id, said.incarnation, said.boot)
        if said.end.startswith("worker"):
            stream.worker.append(said)
            continue
        stream.server.append(said)
        stream.boot = said.boot
        message: Any = said.message
        match message.WhichOneof("message"):
            case "hello":
                stream.begun_ns = said.at_ns
            case "welcome":
                stream.welcomed_ns = said.at_ns
                # The server numbers its sessions as they begin; when several begin at one instant, their Welcomes may
                # go out in another order.
                stream.turn = int(message.welcome.session_id.rpartition(".")[2])
            case _:
                pass
    _take_over(found.values())
    return found


def _take_over(streams: Iterable[Stream]) -> None:
    """Find when each stream was taken over."""
    newest: dict[tuple[int, str], Stream] = {}
    for stream in sorted(streams, key=lambda one: one.turn):
        if stream.welcomed_ns is not None:
            older = newest.get((stream.boot, stream.worker_id))
            if older is not None:
                older.superseded_ns = stream.welcomed_ns
            newest[stream.boot, stream.worker_id] = stream
