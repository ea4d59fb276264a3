"""Resume tokens: what they say, whose they are, and how a log that is not the same is noticed."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from tenure.controlplane.resume import ResumeTokens
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import evolve_queue
from tenure.store.memory import MemoryStore
from tenure.store.store import Append, Head, Unit

KEY = b"k" * 32


class Log(MemoryStore):
    """A log whose head a test can change."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[str, object] = {}
        self.chains: dict[int, tuple[int, bytes] | None] = {}

    def head(self) -> Head:
        return replace(super().head(), **self.changed)  # type: ignore[arg-type]

    async def chain_at(self, position: int) -> tuple[int, bytes] | None:
        if position in self.chains:
            return self.chains[position]
        return await super().chain_at(position)


async def grown(log: MemoryStore, commits: int) -> None:
    """The log with so many more commits of one event."""
    for _ in range(commits):
        name = f"q{log.head().position}"
        event = e.QueueConfigured()
        new = e.NewEvent(event_id=f"e-{name}", time_us=1, actor="test", payload=event)
        queue = evolve_queue(None, name, event, 1)
        await log.commit(
            Unit(appends=(Append(stream=e.queue_stream(name), expected_version=0, events=(new,), queue=queue),))
        )


async def reason_of(tokens: ResumeTokens, token: str) -> Reason:
    with pytest.raises(Refused) as refused:
        await tokens.check(token)
    assert refused.value.field == "resume_token"
    return refused.value.reason


async def test_a_token_says_its_position() -> None:
    log = Log()
    tokens = ResumeTokens(log, KEY)
    assert await tokens.check(await tokens.make(0)) == 0
    await grown(log, 3)
    early = await tokens.make(2)
    await grown(log, 3)
    assert [await tokens.check(token) for token in (early, await tokens.make(6), await tokens.make(0))] == [2, 6, 0]


async def test_a_token_is_the_same_for_the_same_place_and_holds_nothing_to_read() -> None:
    log = Log()
    await grown(log, 2)
    tokens = ResumeTokens(log, KEY)
    token = await tokens.make(2)
    assert token == await tokens.make(2) == await ResumeTokens(log, KEY).make(2)
    assert token != await tokens.make(1)
    assert log.head().log_id not in token
    assert len(token) <= 80


@pytest.mark.parametrize("token", ["", "x", "garbage!", "é", "A" * 511, "=" * 8])
async def test_garbage_is_invalid(token: str) -> None:
    assert await reason_of(ResumeTokens(Log(), KEY), token) is Reason.RESUME_TOKEN_INVALID


async def test_every_changed_byte_is_noticed() -> None:
    log = Log()
    await grown(log, 1)
    tokens = ResumeTokens(log, KEY)
    raw = base64.urlsafe_b64decode(await tokens.make(1))
    for index in range(len(raw)):
        forged = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
        text = base64.urlsafe_b64encode(forged).decode()
        assert await reason_of(tokens, text) is Reason.RESUME_TOKEN_INVALID


async def test_tokens_of_another_key_or_another_log_are_invalid() -> None:
    log = Log()
    token = await ResumeTokens(log, KEY).make(0)
    assert await reason_of(ResumeTokens(log, b"other"), token) is Reason.RESUME_TOKEN_INVALID
    log.changed = {"log_id": "another"}
    assert await reason_of(ResumeTokens(log, KEY), token) is Reason.RESUME_TOKEN_INVALID


async def test_a_log_put_back_from_a_copy_is_noticed() -> None:
    log = Log()
    token = await ResumeTokens(log, KEY).make(0)
    log.changed = {"epoch": log.head().epoch + 1}
    assert await reason_of(ResumeTokens(log, KEY), token) is Reason.LOG_REGRESSED


async def test_a_log_that_has_lost_its_tail_is_noticed() -> None:
    log = Log()
    await grown(log, 5)
    tokens = ResumeTokens(log, KEY)
    token = await tokens.make(5)
    log.chains[5] = None
    assert await reason_of(tokens, token) is Reason.LOG_REGRESSED


async def test_a_lost_tail_is_noticed_by_who_had_not_read_it_yet() -> None:
    log = Log()
    await grown(log, 5)
    tokens = ResumeTokens(log, KEY)
    token = await tokens.make(2)  # made when five were durable
    log.chains[5] = None
    assert await reason_of(tokens, token) is Reason.LOG_REGRESSED


async def test_other_events_in_the_place_of_lost_ones_are_noticed() -> None:
    log = Log()
    await grown(log, 5)
    tokens = ResumeTokens(log, KEY)
    token = await tokens.make(5)
    log.chains[5] = 5, b"another hash"
    assert await reason_of(tokens, token) is Reason.LOG_REGRESSED
    log.chains[5] = 4, (await log.chain_at(4) or (0, b""))[1]
    assert await reason_of(tokens, token) is Reason.LOG_REGRESSED
