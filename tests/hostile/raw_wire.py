"""One call in HTTP/2 frames by hand, for what no client library would send."""

from __future__ import annotations

import asyncio
import re

import grpc

from tests.hostile import h2_frames as h2
from tests.hostile.outcome import Outcome
from tests.hostile.scene import PATIENCE_S, Scene

# gRPC writes the names of its own trailers as they are.
STATUS = re.compile(rb"grpc-status.(\d{1,2})", re.DOTALL)
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
RESET = "RESET"


async def raw_call(
    scene: Scene, path: str, raw: bytes, *more: tuple[str, bytes], token: str = "", compressed: bool = False
) -> Outcome:
    """Make a call with these header fields besides; the code is gRPC's, or RESET when the stream or connection ends
    without one."""
    host, port = scene.server.address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    fields = h2.header_block(h2.call_fields(path, scene.server.address, token, *more))
    writer.write(h2.PREFACE + h2.settings() + h2.frame(h2.HEADERS, h2.END_HEADERS, 1, fields))
    writer.write(h2.data_frames(1, h2.message(raw, compressed=compressed), end=True))
    try:
        async with asyncio.timeout(PATIENCE_S):
            return Outcome(code=await _status(reader))
    except (asyncio.IncompleteReadError, ConnectionError):
        return Outcome(code=RESET)
    finally:
        writer.close()


async def _status(reader: asyncio.StreamReader) -> str:
    while True:
        head = await reader.readexactly(h2.HEAD_BYTES)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags = head[3], head[4]
        if kind in (h2.RST_STREAM, h2.GOAWAY):
            return RESET
        if kind == h2.HEADERS and (found := STATUS.search(payload)) is not None:
            return CODES[int(found[1])]
        if kind == h2.HEADERS and flags & h2.END_STREAM:
            return RESET
