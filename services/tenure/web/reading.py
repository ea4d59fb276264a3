"""Reading requests: bodies with a limit on size and time, JSON without surprises, and parameters.

The content type is not looked at: the address says what a body is, and callers print strange things there.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from google.rpc import code_pb2
from starlette.requests import ClientDisconnect, Request

from tenure.web.failures import Unacceptable, unacceptable

MAX_BODY_BYTES = 4 * 1024 * 1024
BODY_SECONDS = 30.0
# Perhaps half of a surrogate pair alone: no text in UTF-8 holds that, and nothing behind this door takes it.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        Unacceptable: it is larger than 4 MiB, or did not arrive within half a minute.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise _too_large()
                chunks.append(chunk)
    except (TimeoutError, ClientDisconnect):
        text = f"the request's body did not arrive within {BODY_SECONDS:g} s"
        raise unacceptable(code_pb2.DEADLINE_EXCEEDED, "REQUEST_NOT_RECEIVED", text, http_code=408) from None
    return b"".join(chunks)


async def read_json(request: Request) -> Any:
    """The body as plain values; an empty one is an empty object.

    Raises:
        Unacceptable: it is no JSON, names a key twice in one object, or see `read_body`.
    """
    raw = await read_body(request)
    return parse_json(raw) if raw.strip() else {}


def parse_json(raw: bytes) -> Any:
    """The value of JSON in UTF-8.

    Raises:
        Unacceptable: it is none.
    """
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _malformed(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    except ValueError:
        raise _malformed("a number is too long") from None
    if _HALF.search(raw) is not None:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise _malformed("a text has half of a surrogate pair, which is no character") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _malformed(f"{key[:64]!r} is there twice in one object")
            seen.add(key)
    return value


def _no_constant(name: str) -> Any:
    raise _malformed(f"{name} is not a number in JSON")


def _malformed(text: str) -> Unacceptable:
    return unacceptable(code_pb2.INVALID_ARGUMENT, "MALFORMED_REQUEST", f"the request's body is no JSON: {text}")


def _too_large() -> Unacceptable:
    text = f"the request's body has more than {MAX_BODY_BYTES} bytes"
    return unacceptable(code_pb2.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", text, http_code=413)
