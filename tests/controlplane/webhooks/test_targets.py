"""What may be called, as a table: nothing of the inside, in whatever clothes."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tenure.controlplane.webhooks.targets import Target, TargetRules, parse_target, vetted
from tenure.domain.errors import Reason, Refused

STRICT = TargetRules()
INSIDE = TargetRules(allow_http=True, networks=(ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16")), ports=None)

FORBIDDEN = [
    "http://example.org/",
    "ftp://example.org/",
    "https://127.0.0.1/",
    "https://127.1.2.3/",
    "https://127.0.0.1./",
    "https://[::1]/",
    "https://[::]/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[ff02::1]/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://example.0x7f/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::8.8.8.8]/",
    "https://[64:ff9b:1::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:808:808::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[2001:db8::1]/",
    "https://user@example.org/",
    "https://user:password@example.org/",
    "https://example.org@127.0.0.1/",
    "https://@example.org/",
    "https://example.org:22/",
    "https://example.org:80/",
    "https://example.org:65535/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://metadata/",
    "https://example.org/#part",
]

NO_URL = [
    "example.org",
    "//example.org/",
    "https://",
    "https:///path",
    "https://exa mple.org/",
    "https://example.org/a b",
    "https://example.org\\@127.0.0.1/",
    "https://example.org/\n",
    "https://bücher.example/",
    "https://example.org:0x50/",
    "https://example.org:70000/",
    "https://[::1/",
    "https://[v1.x]/",
    "https://-a.example/",
    "https://a..example/",
    "https://%31%32%37.0.0.1/",
    "https://127.0.0.1%2f@example/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 130 + "example/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_what_may_not_be_called(url: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_target(url, STRICT, "webhook")
    assert (refused.value.reason, refused.value.field) == (Reason.WEBHOOK_TARGET_FORBIDDEN, "webhook")


@pytest.mark.parametrize("url", NO_URL)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_target(url, STRICT, "webhook")
    assert (refused.value.reason, refused.value.field) in {
        (Reason.INVALID_FIELD, "webhook"),
        (Reason.WEBHOOK_TARGET_FORBIDDEN, "webhook"),
    }


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.org", Target(secure=True, host="example.org", port=443, path="/"), "example.org"),
        ("https://example.org.", Target(secure=True, host="example.org", port=443, path="/"), "example.org"),
        (
            "https://Hooks.Example.org:8443/a%20b?c=d&e",
            Target(secure=True, host="hooks.example.org", port=8443, path="/a%20b?c=d&e"),
            "hooks.example.org:8443",
        ),
        ("https://example.org?a", Target(secure=True, host="example.org", port=443, path="/?a"), "example.org"),
        ("https://8.8.8.8/", Target(secure=True, host="8.8.8.8", port=443, path="/"), "8.8.8.8"),
        (
            "https://[2606:4700::1111]:8443/",
            Target(secure=True, host="2606:4700::1111", port=8443, path="/"),
            "[2606:4700::1111]:8443",
        ),
        ("https://[::ffff:8.8.8.8]/", Target(secure=True, host="8.8.8.8", port=443, path="/"), "8.8.8.8"),
        (
            "https://xn--bcher-kva.example/",
            Target(secure=True, host="xn--bcher-kva.example", port=443, path="/"),
            "xn--bcher-kva.example",
        ),
    ],
)
def test_what_may_be_called(url: str, target: Target, authority: str) -> None:
    assert parse_target(url, STRICT) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080/", "https://10.1.2.3:22/", "http://localhost/", "http://redis:6379/", "https://e.org"],
)
def test_what_an_operator_may_allow(url: str) -> None:
    parse_target(url, INSIDE)


@pytest.mark.parametrize("url", ["http://10.2.0.1/", "http://169.254.169.254/", "http://u@127.0.0.1/", "ftp://e.org/"])
def test_what_is_not_allowed_with_it(url: str) -> None:
    with pytest.raises(Refused):
        parse_target(url, INSIDE)


def test_a_name_is_judged_by_all_its_addresses() -> None:
    assert vetted(["8.8.8.8", "2606:4700::1111", "8.8.8.8"], STRICT) == ["8.8.8.8", "2606:4700::1111"]
    assert vetted(["::ffff:8.8.8.8"], STRICT) == ["8.8.8.8"]
    for bad in ("127.0.0.1", "::1", "169.254.169.254", "64:ff9b::808:808", "2002:808:808::1", "fe80::1%1", "x", ""):
        assert vetted(["8.8.8.8", bad], STRICT) == []
    assert vetted(["127.0.0.1"], INSIDE) == ["127.0.0.1"]
    assert vetted(["127.0.0.1", "10.2.0.1"], INSIDE) == []


def test_behind_nat64_is_what_is_behind_it() -> None:
    """Where there is no IPv4, an operator allows the prefix; the inside stays closed."""
    rules = TargetRules(networks=(ip_network("64:ff9b::/96"),))
    assert vetted(["64:ff9b::808:808"], rules) == ["64:ff9b::808:808"]
    assert vetted(["64:ff9b::7f00:1"], rules) == []
    assert vetted(["64:ff9b::a9fe:a9fe"], rules) == []
