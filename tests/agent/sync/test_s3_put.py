from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from tenure.agent.sync.s3_client import S3Clients
from tenure.agent.sync.s3_errors import SentTooLate
from tenure.agent.sync.s3_put import Requests, Write, _Body, headers
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def requests(clock: FakeClock, executor: ThreadPoolExecutor) -> Requests:
    clients = S3Clients({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, connections=1)
    return Requests(clients=clients, executor=executor, clock=clock, read_timeout_s=20.0)


@pytest.mark.parametrize("left_s", [0.25, 0.4, 0.6, 1.6, 4.8, 48.0, 60.0, 3600.0])
def test_a_write_fits_into_the_time_that_is_left(requests: Requests, left_s: float) -> None:
    write = requests.writer(int(left_s * 1e9), Event())
    config: Any = write.client.meta.config
    assert config.connect_timeout + config.read_timeout < left_s
    assert write._body_until_ns + config.read_timeout * 1e9 <= left_s * 1e9


def test_too_little_time_is_none(requests: Requests) -> None:
    with pytest.raises(SentTooLate):
        requests.writer(int(0.24e9), Event())


async def test_a_body_ends_when_its_time_is_over(requests: Requests, clock: FakeClock) -> None:
    write = requests.writer(int(1.6e9), Event())
    write.check()
    await clock.advance(1.2)
    with pytest.raises(SentTooLate):
        write.check()


def test_a_body_ends_when_it_is_given_up(requests: Requests) -> None:
    abort = Event()
    write: Write = requests.writer(int(60e9), abort)
    write.check()
    abort.set()
    with pytest.raises(SentTooLate):
        write.check()


def test_a_body_that_was_sent_whole_is_not_broken_off(requests: Requests) -> None:
    """The store has all of it and may carry it out: its answer has to be waited for."""
    abort = Event()
    body = _Body(b"bytes", requests.writer(int(60e9), abort))
    assert body.read(3) == b"byt"
    assert body.read(3) == b"es"
    abort.set()
    assert body.read(3) == b""
    body.seek(0)
    with pytest.raises(SentTooLate):
        body.read(3)


@pytest.mark.parametrize(
    ("key", "encoding", "kind"),
    [
        ("a/state.txt", "", "text/plain"),
        ("a/state.txt.gz", "gzip", "text/plain"),
        ("a/own.txt.gz", "", "application/gzip"),
        ("a/model", "", "application/octet-stream"),
        ("a/x.tar.bz2", "", "application/octet-stream"),
    ],
)
def test_an_object_says_what_it_is(key: str, encoding: str, kind: str) -> None:
    fields = headers(key, encoding, {"a": "b"})
    assert (fields["ContentType"], fields.get("ContentEncoding", ""), fields["Metadata"]) == (
        kind,
        encoding,
        {"a": "b"},
    )
