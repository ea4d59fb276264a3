"""Files of the page: everything in `static/`, with a policy that lets it load nothing from anywhere else.

`/` is `static/index.html`. Scripts and styles are files of their own: inline ones do not run.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenure.web.addresses import Address

STATIC = Path(__file__).parent / "static"
# Looked up again every time, and not sent again when it is the same.
CACHING = "no-cache"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", CACHING.encode()),
)


def routes(folder: Path = STATIC) -> list[BaseRoute]:
    """`/` and `/static/…`."""
    files = StaticFiles(directory=folder)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    return [
        Address("/", index, methods=["GET"]),
        Mount("/static", files),
    ]


class PageHeaders:
    """Adds to every page, and to the files of `/static/`, what browsers are to be told about it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with more headers."""
        path = scope.get("path", "")
        ours = path == "/" or path.startswith("/static/")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and ours:
                kept = [pair for pair in message.get("headers", []) if pair[0] != b"cache-control"]
                message["headers"] = [*kept, *HEADERS]
            await send(message)

        await self._app(scope, receive, sending)
