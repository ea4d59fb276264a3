"""What must hold of the log as a whole: its numbers, its hash chain, that it only grows, and who writes it."""

from __future__ import annotations

from collections.abc import Iterator

from tenure.store import chain, codec
from tests.simulation.history import Refusal
from tests.simulation.invariants_case import Case

# As they were when this was imported: a bug that is planted in them must not blind their judge.
_encode = codec.encode
_advance = chain.advance


def positions_are_dense(case: Case) -> Iterator[str]:
    """Positions are 1, 2, 3 …, versions of each stream too, and no event's id is there twice (2.4)."""
    versions: dict[str, int] = {}
    log = case.history.log
    for index, event in enumerate(log):
        if event.position != index + 1:
            yield f"the log has position {event.position} where {index + 1} belongs"
        version = versions[event.stream] = versions.get(event.stream, 0) + 1
        if event.version != version:
            yield f"{event.stream} has version {event.version} at position {event.position}, after {version - 1}"
    if len({event.event_id for event in log}) != len(log):
        yield "two events have the same id"


def chain_is_valid(case: Case) -> Iterator[str]:
    """The hash over the stored bytes of all commits is that of the log's head (2.4)."""
    history = case.history
    if history.head is None:
        return
    last = history.committed[-1].last if history.committed else 0
    if last != len(history.log) or history.head.position != last:
        yield f"commits end at {last}, the head at {history.head.position}, the log has {len(history.log)} events"
    elif _hashes(case).get(last, chain.START) != history.head.hash:
        yield "the hash of the head is not that of the events before it"


def log_only_grows(case: Case) -> Iterator[str]:
    """What was durable once stays as it was: a prefix of the log never changes, over crashes too (promise 1)."""
    hashes = _hashes(case)
    for checkpoint in case.history.checkpoints:
        if checkpoint.position and hashes.get(checkpoint.position, b"").hex() != checkpoint.digest:
            yield f"the log up to position {checkpoint.position} is not what it was at {checkpoint.at_ns / 1e9:g} s"


def nothing_after_a_failed_fsync(case: Case) -> Iterator[str]:
    """A server process that does not know whether a commit is on disk writes nothing more (2.4)."""
    lost: dict[int, int] = {}
    for commit in case.history.committed:
        since_ns = lost.get(commit.boot)
        if since_ns is not None and commit.durable_ns > since_ns:
            yield f"server process {commit.boot} wrote position {commit.first} after a commit of unknown outcome"
            lost.pop(commit.boot)
        elif commit.told_ns is None:
            lost[commit.boot] = commit.durable_ns


def secrets_stay_out(case: Case) -> Iterator[str]:
    """No secret that somebody was trusted with is in the log or in an answer (1.7)."""
    if not case.history.secrets:
        return
    _hashes(case)
    answers = (call.answer or call.unsent_answer for call in case.history.calls)
    said = [
        answer.message.encode() if isinstance(answer, Refusal) else answer.SerializeToString()
        for answer in answers
        if answer
    ]
    text = b"\0".join([*case.cache["stored"], *said])
    for secret in case.history.secrets:
        if secret.encode() in text:
            yield f"the secret that begins with {secret[:6]} is in the log or in an answer"


def _hashes(case: Case) -> dict[int, bytes]:
    """The chain's hash after each commit, by its last position."""
    found: dict[int, bytes] | None = case.cache.get("hashes")
    if found is not None:
        return found
    first: dict[str, int] = {}
    links: list[chain.Link] = []
    for event in case.history.log:
        stream = event.stream
        number = first.setdefault(stream, event.position)
        name = stream if event.version == 1 else ""
        # The codec reads nothing of a NewEvent that a RecordedEvent has not.
        data = _encode(event, stream=name, request_id=event.request_id, request_digest=event.request_digest)  # type: ignore[arg-type]
        links.append((event.position, number, event.version, event.time_us, data))
    case.cache["stored"] = [link[4] for link in links]
    found = case.cache["hashes"] = {}
    value = chain.START
    for commit in case.history.committed:
        value = found[commit.last] = _advance(value, links[commit.first - 1 : commit.last])
    return found
