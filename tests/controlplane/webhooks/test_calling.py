"""One call: to whom a connection is made, and what is made of the answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest

from tenure.controlplane.webhooks.calling import (
    Answer,
    Caller,
    Connector,
    NotAnswered,
    SystemConnector,
    SystemResolver,
)
from tenure.controlplane.webhooks.targets import Target, TargetRules, parse_target
from tests.controlplane.webhooks.receiver import Receiver, Reply, receiving
from tests.controlplane.webhooks.rig import LOOSE, Names

TLS = Path(__file__).parents[2] / "data" / "tls"
BODY = b'{"a": 1}'


class Noting(SystemConnector):
    """Notes what is connected to."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(context)
        self.made: list[tuple[str, int, str | None]] = []

    async def connect(
        self, address: str, port: int, tls_name: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.made.append((address, port, tls_name))
        return await super().connect(address, port, tls_name)


class Never(Noting):
    """A network where nothing is to be connected to."""

    async def connect(
        self, address: str, port: int, tls_name: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.made.append((address, port, tls_name))
        raise ConnectionRefusedError


class Changing:
    """A name that leads elsewhere the second time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        return self.answers.pop(0)


def caller(
    *, rules: TargetRules = LOOSE, names: Names | None = None, connector: Connector | None = None, limit_s: float = 5.0
) -> Caller:
    return Caller(rules, names or Names(), connector or SystemConnector(), limit_s=limit_s)


def target(receiver: Receiver, host: str = "hooks.example") -> Target:
    return parse_target(f"http://{host}:{receiver.port}/a?b=c", LOOSE)


async def why(calling: Caller, to: Target) -> NotAnswered:
    with pytest.raises(NotAnswered) as failed:
        await calling.post(to, [], BODY)
    return failed.value


async def test_a_call_is_a_post_to_the_vetted_address_in_the_name_of_the_host(receiver: Receiver) -> None:
    names, connector = Names(), Noting()
    answer = await caller(names=names, connector=connector).post(target(receiver), [("webhook-id", "1")], BODY)
    assert answer == Answer(status=200)
    (seen,) = receiver.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/a?b=c", BODY)
    assert seen.headers["host"] == f"hooks.example:{receiver.port}"
    assert seen.headers["webhook-id"] == "1"
    assert seen.headers["user-agent"].startswith("tenure/")
    assert names.asked == ["hooks.example"]
    assert connector.made == [("127.0.0.1", receiver.port, None)]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["169.254.169.254"],
        ["10.0.0.8"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["::ffff:127.0.0.1"],
        ["224.0.0.1"],
        ["fe80::1%2"],
    ],
    ids=str,
)
async def test_a_name_that_leads_inside_is_not_connected_to(addresses: list[str]) -> None:
    names, connector = Names(), Never()
    names.known["hooks.example"] = addresses
    strict = TargetRules()
    to = parse_target("https://hooks.example/", strict)
    failed = await why(caller(rules=strict, names=names, connector=connector), to)
    assert failed.blocked
    assert not any(address in str(failed) for address in addresses)
    assert connector.made == []


async def test_a_name_is_asked_for_once_and_what_was_vetted_is_connected_to() -> None:
    connector = Never()
    calling = Caller(TargetRules(), Changing(["93.184.215.14"], ["127.0.0.1"]), connector)
    to = parse_target("https://hooks.example/", TargetRules())
    assert str(await why(calling, to)) == "it refuses connections"
    assert connector.made == [("93.184.215.14", 443, "hooks.example")]
    assert (await why(calling, to)).blocked
    assert len(connector.made) == 1


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    async with receiving() as inside:
        location = [("location", f"http://127.0.0.1:{inside.port}/latest/meta-data/")]
        for status in (301, 302, 303, 307, 308):
            receiver.replies(Reply(status=status, headers=location))
            assert (await caller().post(target(receiver), [], BODY)).status == status
        assert inside.connections == 0


async def test_proxies_of_the_environment_are_not_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await caller().post(target(receiver), [], BODY)).status == 200


async def test_an_answer_without_an_end_is_cut_and_counts(receiver: Receiver) -> None:
    receiver.replies(Reply(endless=True))
    assert (await caller().post(target(receiver), [], BODY)).status == 200


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(trickle=True)], ids=["hangs", "trickles"])
async def test_an_answer_that_does_not_come_in_time_is_none(receiver: Receiver, reply: Reply) -> None:
    receiver.replies(reply)
    assert str(await why(caller(limit_s=0.2), target(receiver))) == "no answer within 0.2 s"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "what it answered is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 100_000, "what it answered is not HTTP"),
        (b"HTTP/1.1 ", "it closed the connection without an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "it closed the connection without an answer"),
    ],
)
async def test_what_is_no_answer(receiver: Receiver, raw: bytes, said: str) -> None:
    receiver.replies(Reply(raw=raw))
    assert str(await why(caller(), target(receiver))) == said


async def test_what_comes_before_an_answer_is_passed_over(receiver: Receiver) -> None:
    receiver.replies(Reply(raw=b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"))
    assert (await caller().post(target(receiver), [], BODY)).status == 204


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("-7", 0), ("Wed, 21 Oct 2015", 0), ("9" * 30, 0)])
async def test_how_long_to_wait_may_be_said(receiver: Receiver, value: str, seconds: int) -> None:
    receiver.replies(Reply(status=503, headers=[("Retry-After", value)]))
    assert await caller().post(target(receiver), [], BODY) == Answer(status=503, retry_after_s=seconds)


async def test_addresses_are_tried_one_after_the_other(receiver: Receiver) -> None:
    names, connector = Names(), Noting()
    names.known["hooks.example"] = ["127.0.0.2", "127.0.0.1"]
    assert (await caller(names=names, connector=connector).post(target(receiver), [], BODY)).status == 200
    assert [address for address, _, _ in connector.made] == ["127.0.0.2", "127.0.0.1"]


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert str(await why(caller(), parse_target(f"http://a.example:{port}/", LOOSE))) == "it refuses connections"
    names = Names()
    names.known["a.example"] = []
    assert str(await why(caller(names=names), parse_target("http://a.example/", LOOSE))) == "its name has no address"


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(TLS / "authority.pem"))


def proving() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "first.pem", TLS / "first.key")
    return context


async def test_an_encrypted_call_goes_to_who_proves_to_have_the_name() -> None:
    async with receiving(proving()) as receiver:
        connector = Noting(trusting())
        to = parse_target(f"https://localhost:{receiver.port}/", LOOSE)
        assert (await caller(connector=connector).post(to, [], BODY)).status == 200
        assert connector.made == [("127.0.0.1", receiver.port, "localhost")]
        other = parse_target(f"https://other.example:{receiver.port}/", LOOSE)
        assert str(await why(caller(connector=Noting(trusting())), other)) == "its certificate is not trusted"
        # The machine's certificates know nothing of this authority: as good as self-signed.
        assert str(await why(caller(), to)) == "its certificate is not trusted"
        assert len(receiver.seen) == 1


async def test_encryption_is_asked_of_who_has_none(receiver: Receiver) -> None:
    to = parse_target(f"https://localhost:{receiver.port}/", LOOSE)
    failed = await why(caller(connector=SystemConnector(trusting())), to)
    assert str(failed) in ("no encrypted connection could be made", "no connection could be made")
    assert receiver.seen == []


async def test_the_resolver_of_the_machine() -> None:
    resolver = SystemResolver()
    try:
        assert list(await resolver.resolve("127.0.0.1", 443)) == ["127.0.0.1"]
        with pytest.raises(OSError):  # noqa: PT011 - any
            await resolver.resolve("no-such-name.invalid", 443)
    finally:
        resolver.close()


def test_the_rules_of_these_tests_are_not_the_usual_ones() -> None:
    assert TargetRules() == TargetRules(allow_http=False, networks=(), ports=frozenset({443, 8443}))
    assert LOOSE.networks == (ip_network("127.0.0.0/8"),)
