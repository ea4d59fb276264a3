"""Responses: JSON, and the headers that every response carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

JSON = "application/json"

# What browsers are told about everything that comes from here. Pages add what they may load.
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def json_bytes(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_response(value: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response that nobody is to keep."""
    return Response(json_bytes(value), code, {"cache-control": "no-store", **(headers or {})}, JSON)
