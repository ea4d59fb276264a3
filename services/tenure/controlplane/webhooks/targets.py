"""Where announcements may go. A URL comes from somebody outside and is called from inside: whatever could make the
server talk to its own network is refused, when the URL is named and again at every try.

A name is judged by its addresses, all of them, and only an address that was judged is connected to.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from tenure.domain.errors import Reason, Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

USUAL_PORTS = frozenset({443, 8443})

_VISIBLE = re.compile(r"[!-~]+")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What resolvers take for an IPv4 address: `2130706433`, `0x7f.1`.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# IPv4 that is not somebody's on the public Internet: IANA's special-purpose addresses, multicast, reserved ones.
_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
# The only unicast IPv6 that is given out, which leaves out loopback, link-local, unique local, multicast and NAT64 …
_GIVEN_OUT_6 = ipaddress.IPv6Network("2000::/3")
# … less what is special in it: protocols (Teredo among them), documentation, 6to4, AS112.
_NOT_PUBLIC_6 = tuple(
    map(
        ipaddress.IPv6Network,
        ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRules:
    """What the operator allows.

    `allow_http` takes URLs without TLS; `networks` may be reached though they are not public; `ports` None: any.
    """

    allow_http: bool = False
    networks: tuple[Network, ...] = ()
    ports: frozenset[int] | None = USUAL_PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that may be tried. `host` is a name or an address, lower case, without brackets; `path` has the query."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def parse_target(url: str, rules: TargetRules, field: str = "") -> Target:
    """The target that a URL names.

    Raises:
        Refused: INVALID_FIELD when it is no URL, WEBHOOK_TARGET_FORBIDDEN when it is one that may not be called;
            `field` is its path.
    """
    parts = _split(url, field)
    if parts.scheme != "https" and not (rules.allow_http and parts.scheme == "http"):
        raise _forbidden("begin it with https://", field)
    if "@" in parts.netloc:
        raise _forbidden("a user or password in the URL is not sent; the signature shows who announces", field)
    if parts.fragment:
        raise _forbidden("leave out what follows the #, it is never sent", field)
    host = _host(parts, rules, field)
    try:
        port = parts.port
    except ValueError:
        raise Refused(Reason.INVALID_FIELD, "its port is no number from 1 to 65535", field=field) from None
    secure = parts.scheme == "https"
    if port is None:
        port = 443 if secure else 80
    if rules.ports is not None and port not in rules.ports:
        allowed = " and ".join(map(str, sorted(rules.ports)))
        raise _forbidden(f"port {port} is not one that this server calls ({allowed})", field)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure=secure, host=host, port=port, path=path)


def vetted(addresses: Iterable[str], rules: TargetRules) -> list[str]:
    """The addresses of a name in the form in which they are to be connected to, each once; none when any of them may
    not be: a name that leads inside as well is not to be trusted."""
    found: dict[str, None] = {}
    for text in addresses:
        address = _address(text)
        if address is None or not _may_be_reached(address, rules):
            return []
        found[str(address)] = None
    return list(found)


def _split(url: str, field: str) -> SplitResult:
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        text = "is no URL: write it with visible ASCII characters, others as %XX (or xn-- in the name)"
        raise Refused(Reason.INVALID_FIELD, text, field=field)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    host = parts.hostname or ""
    if not parts.scheme or not host or ("[" in parts.netloc and ":" not in host):
        raise Refused(Reason.INVALID_FIELD, "is no URL such as https://example.org/hook", field=field)
    return parts


def _host(parts: SplitResult, rules: TargetRules, field: str) -> str:
    host = (parts.hostname or "").removesuffix(".")
    address = _address(host)
    if address is not None:
        if not _may_be_reached(address, rules):
            raise _forbidden("its address is not a public one", field)
        return str(address)
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise _forbidden("write an IPv4 address as four decimal numbers", field)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused(Reason.INVALID_FIELD, "its host is no name and no address", field=field)
    if (len(labels) == 1 or labels[-1] == "localhost") and not rules.networks:
        raise _forbidden("its host is not a public name", field)
    return host


def _address(text: str) -> Address | None:
    """The address; what is IPv4 in the clothes of IPv6 as IPv4, as the kernel takes it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _may_be_reached(address: Address, rules: TargetRules) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        public = not any(address in network for network in _NOT_PUBLIC_4)
    else:
        if address.scope_id is not None:
            return False
        public = address in _GIVEN_OUT_6 and not any(address in network for network in _NOT_PUBLIC_6)
    if public:
        return True
    if not any(address.version == network.version and address in network for network in rules.networks):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        # Where the operator allows NAT64, what is behind it counts.
        return _may_be_reached(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), rules)
    return True


def _forbidden(text: str, field: str) -> Refused:
    return Refused(Reason.WEBHOOK_TARGET_FORBIDDEN, text, field=field)
