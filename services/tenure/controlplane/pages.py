"""Page tokens: where the next page begins, for the same caller and the same question only.

A token is bound to the principal and to every field of the request but `page_size` and `page_token`: with another
filter or order the place would mean something else. It is authenticated and holds nothing but a key of the order.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Protocol, cast

from google.protobuf.message import Message

from tenure.domain.errors import Reason, Refused

_VERSION = b"\x01"
_MAC_BYTES = 16

Key = tuple[int, ...] | tuple[str, ...]


class _Paged(Protocol):
    page_size: int
    page_token: str


class Pages:
    """Makes and reads page tokens.

    Args:
        key: secret of the servers that know each other's tokens.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"page token", "sha256")

    def make(self, after: Key, request: Message, principal: str) -> str:
        """The token of the page after this key, for a request that has `page_size` and `page_token`."""
        body = _VERSION + json.dumps(after, separators=(",", ":")).encode("utf-8")
        return base64.urlsafe_b64encode(body + self._mac(body, request, principal)).rstrip(b"=").decode("ascii")

    def read(self, request: Message, principal: str) -> tuple[int, int] | None:
        """The key in a request's token for a list in the order of two integers; None: it asks for the first page.

        Raises:
            Refused: PAGE_TOKEN_INVALID.
        """
        match self._read(request, principal):
            case None:
                return None
            case [int(first), int(second)]:
                return first, second
            case _:
                raise page_token_invalid()

    def read_text(self, request: Message, principal: str) -> str | None:
        """The same for a list in the order of one text.

        Raises:
            Refused: PAGE_TOKEN_INVALID.
        """
        match self._read(request, principal):
            case None:
                return None
            case [str(text)]:
                return text
            case _:
                raise page_token_invalid()

    def _read(self, request: Message, principal: str) -> list[object] | None:
        token = cast(_Paged, request).page_token
        if not token:
            return None
        try:
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise page_token_invalid() from None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if body[:1] != _VERSION or not hmac.compare_digest(mac, self._mac(body, request, principal)):
            raise page_token_invalid()
        return cast("list[object]", json.loads(body[1:]))

    def _mac(self, body: bytes, request: Message, principal: str) -> bytes:
        question = type(request)()
        question.CopyFrom(request)
        paged = cast(_Paged, question)
        paged.page_size = 0
        paged.page_token = ""
        name = request.DESCRIPTOR.full_name
        parts = (body, principal.encode("utf-8"), name.encode("utf-8"), question.SerializeToString(deterministic=True))
        # Each part with its length, so that no two different lists of parts are the same bytes.
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, text, "sha256")[:_MAC_BYTES]


def page_token_invalid() -> Refused:
    """PAGE_TOKEN_INVALID: there is no such place in the list."""
    return Refused(
        Reason.PAGE_TOKEN_INVALID, "the page token is not of this list; begin with the first page", field="page_token"
    )
