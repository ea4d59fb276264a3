"""Signing in to the page: a token once, then a cookie that scripts cannot read.

The cookie holds a random id, never the token; what it stands for is kept in memory and ends with the server. A change
made with the cookie needs the header `X-Tenure-CSRF` and an origin that is ours: a form or an image on another page can
bring the cookie along, but neither of these.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from google.rpc import code_pb2
from starlette.requests import Request
from starlette.responses import Response

from tenure.runtime.calls import CallFailed, Channel
from tenure.runtime.clock import Clock
from tenure.v1 import admin_service_pb2, queue_service_pb2
from tenure.web.addresses import Address, Guard
from tenure.web.answers import json_response
from tenure.web.failures import Problem, Unacceptable, invalid, native, unacceptable
from tenure.web.reading import read_json

CSRF_HEADER = "x-tenure-csrf"
COOKIE = "tenure_session"
# With this prefix browsers take it over TLS only, and from this host only.
TLS_COOKIE = "__Host-tenure_session"

MAX_SESSIONS = 1000
IDLE_NS = 12 * 3600 * 1_000_000_000
LONGEST_NS = 7 * 24 * 3600 * 1_000_000_000

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OURS = frozenset({"same-origin", "none"})


@dataclass(slots=True)
class _Session:
    secret: str
    role: str
    until_ns: int
    used_ns: int


class SignIn:
    """Who is signed in.

    Args:
        channel: for asking what a token may do.
        clock: for how long it lasts.
        random: gives that many random bytes, fit for secrets.
    """

    def __init__(self, channel: Channel, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._channel = channel
        self._clock = clock
        self._random = random
        # By the hash of the cookie, the least recently used first.
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def routes(self, guard: Guard) -> list[Address]:
        """`POST`, `GET` and `DELETE /session`; `guard` answers refusals."""
        return [
            Address("/session", guard(self._create, native), methods=["POST"]),
            Address("/session", guard(self._show, native), methods=["GET"]),
            Address("/session", guard(self._delete, native), methods=["DELETE"]),
        ]

    def secret_of(self, request: Request) -> str | None:
        """The token behind a request's cookie; None: it has no cookie that counts.

        Raises:
            Unacceptable: the request changes something and does not prove that it comes from our page.
        """
        session = self._session(request)
        if session is None:
            return None
        if request.method not in _SAFE_METHODS:
            _check_origin(request)
        return session.secret

    async def _create(self, request: Request) -> Response:
        _check_origin(request, header=False)
        body = await read_json(request)
        secret = body.get("token") if isinstance(body, dict) else None
        if not isinstance(secret, str) or not secret.strip():
            raise invalid([Problem("token", "must be a token")])
        role = await self._role(secret.strip())
        self._forget(request)
        cookie = base64.urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()
        now_ns = self._clock.monotonic_ns()
        self._sessions[_digest(cookie)] = _Session(secret.strip(), role, now_ns + LONGEST_NS, now_ns)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        response = json_response({"role": role})
        secure = request.url.scheme == "https"
        response.set_cookie(
            TLS_COOKIE if secure else COOKIE, cookie, path="/", httponly=True, samesite="strict", secure=secure
        )
        return response

    async def _show(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            raise unacceptable(code_pb2.UNAUTHENTICATED, "CREDENTIALS_MISSING", "you are not signed in")
        # The token may have been revoked meanwhile.
        session.role = await self._role(session.secret)
        return json_response({"role": session.role})

    async def _delete(self, request: Request) -> Response:
        self.secret_of(request)
        self._forget(request)
        response = json_response({})
        for name in (COOKIE, TLS_COOKIE):
            response.delete_cookie(name, path="/", httponly=True, samesite="strict", secure=name == TLS_COOKIE)
        return response

    async def _role(self, secret: str) -> str:
        """What a token is for, by what it may call.

        Raises:
            CallFailed: it is not known, or is for workers.
        """
        metadata = (("authorization", f"Bearer {secret}"),)
        try:
            await self._channel.unary(
                "/tenure.v1.AdminService/RetrieveStore",
                admin_service_pb2.RetrieveStoreRequest(),
                admin_service_pb2.RetrieveStoreResponse,
                metadata,
            )
        except CallFailed as failed:
            if failed.status.code != code_pb2.PERMISSION_DENIED:
                raise
        else:
            return "admin"
        request = queue_service_pb2.BrowseQueuesRequest(page_size=1)
        await self._channel.unary(
            "/tenure.v1.QueueService/BrowseQueues", request, queue_service_pb2.BrowseQueuesResponse, metadata
        )
        return "user"

    def _session(self, request: Request) -> _Session | None:
        key = _key(request)
        session = self._sessions.get(key) if key is not None else None
        if session is None or key is None:
            return None
        now_ns = self._clock.monotonic_ns()
        if now_ns >= session.until_ns or now_ns - session.used_ns >= IDLE_NS:
            del self._sessions[key]
            return None
        session.used_ns = now_ns
        self._sessions.move_to_end(key)
        return session

    def _forget(self, request: Request) -> None:
        key = _key(request)
        if key is not None:
            self._sessions.pop(key, None)


def _key(request: Request) -> bytes | None:
    cookie = request.cookies.get(TLS_COOKIE if request.url.scheme == "https" else COOKIE)
    return _digest(cookie) if cookie else None


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


def _check_origin(request: Request, *, header: bool = True) -> None:
    """Refuse what another page may have sent."""
    if header and not request.headers.get(CSRF_HEADER):
        raise _foreign("a change made with the cookie needs the header X-Tenure-CSRF")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise _foreign("the request comes from a page of another origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in _OURS:
        raise _foreign("the request comes from a page of another site")


def _foreign(text: str) -> Unacceptable:
    return unacceptable(code_pb2.PERMISSION_DENIED, "CREDENTIALS_INVALID", text)
