"""The attacks, a program of its own: it does one of them, says what came back, and ends.

It is started by the tests with a plan as its argument (JSON), writes `ready` when the attack stands, goes on until its
standard input ends or its time is over, and then writes what it has seen as one line of JSON. It only ever connects to
the address in its plan, which has to be on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import os
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.hostile import h2_frames as h2
from tests.hostile.h2_attacker import Attacker, Connection, Plan

MOST_SECONDS = 600.0
# How often calls that have ended are begun again.
REPLACED_EVERY_S = 5.0


async def silent_calls(attacker: Attacker) -> None:
    """Calls that never send their message; those that end are replaced."""

    async def hold(connection: Connection) -> None:
        await attacker.repeat(connection, lambda: connection.headers()[1])
        attacker.stand()
        while not connection.closed.is_set():
            missing = attacker.plan.times - (connection.next_stream // 2 - connection.ended)
            attacker.seen["sent"] += max(0, missing)
            await connection.send(b"".join(connection.headers()[1] for _ in range(missing)))
            await asyncio.sleep(REPLACED_EVERY_S)

    await attacker.everywhere(hold)


async def unknown_tokens(attacker: Attacker) -> None:
    """Calls with tokens that nobody knows, each with another one."""

    def call(connection: Connection) -> bytes:
        stream, into = connection.next_stream, dataclasses.replace(connection.plan, token=os.urandom(24).hex())
        connection.next_stream += 2
        block = h2.header_block(h2.call_fields(into.path, into.authority, into.token))
        return h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block)

    await attacker.everywhere(lambda one: attacker.repeat(one, lambda: call(one)))


async def half_closed(attacker: Attacker) -> None:
    """Calls that end without a message."""

    async def hold(connection: Connection) -> None:
        await attacker.repeat(connection, lambda: connection.headers(end=True)[1])

    await attacker.everywhere(hold)


async def unread(attacker: Attacker) -> None:
    """Calls whose answers are never given any credit: not one byte of them may be sent."""

    async def ask(connection: Connection) -> None:
        await attacker.repeat(connection, connection.call)

    await attacker.everywhere(ask, (h2.INITIAL_WINDOW_SIZE, 0))


async def open_streams(attacker: Attacker) -> None:
    """Streams that are asked for properly, and stay open on both sides."""

    async def ask(connection: Connection) -> None:
        await attacker.repeat(connection, lambda: connection.call(end=False))

    await attacker.everywhere(ask)


async def rapid_reset(attacker: Attacker) -> None:
    """Calls that are given up at once."""

    def call_and_reset(connection: Connection) -> bytes:
        call = connection.call()
        reset = struct.pack(">I", h2.CANCEL)
        return call + h2.frame(h2.RST_STREAM, 0, connection.next_stream - 2, reset)

    await attacker.everywhere(lambda one: attacker.repeat(one, lambda: call_and_reset(one)))


async def made_you_reset(attacker: Attacker) -> None:
    """Calls that break the rules of flow control, so that the server is the one that resets them."""

    def call_and_break(connection: Connection) -> bytes:
        call = connection.call()
        return call + h2.frame(h2.WINDOW_UPDATE, 0, connection.next_stream - 2, bytes(4))

    await attacker.everywhere(lambda one: attacker.repeat(one, lambda: call_and_break(one)))


async def large_metadata(attacker: Attacker) -> None:
    """Calls with a megabyte of metadata."""
    value = b"x" * 10_000

    def big(connection: Connection) -> bytes:
        more = [(f"x-{number}", value) for number in range(100)]
        stream, whole = connection.headers(*more, end=True)
        block = whole[h2.HEAD_BYTES :]
        pieces = [block[at : at + h2.MOST_PAYLOAD] for at in range(0, len(block), h2.MOST_PAYLOAD)]
        frames = [h2.frame(h2.HEADERS, h2.END_STREAM, stream, pieces[0])]
        frames += [h2.frame(h2.CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
        return b"".join([*frames, h2.frame(h2.CONTINUATION, h2.END_HEADERS, stream, pieces[-1])])

    async def send(connection: Connection) -> None:
        for _ in range(attacker.plan.times):
            attacker.seen["sent"] += 1
            await connection.send(big(connection))

    await attacker.everywhere(send)


async def endless_continuation(attacker: Attacker) -> None:
    """Header blocks that never end."""
    piece = h2.header_block([("x-more", b"y" * 1000)] * 16)

    async def send(connection: Connection) -> None:
        stream, opening = connection.headers()
        unfinished = opening[: h2.HEAD_BYTES - 5] + b"\0" + opening[h2.HEAD_BYTES - 4 :]  # without END_HEADERS
        await connection.send(unfinished)
        await attacker.repeat(connection, lambda: h2.frame(h2.CONTINUATION, 0, stream, piece))

    await attacker.everywhere(send)


async def gzip_bomb(attacker: Attacker) -> None:
    """Messages of a hundred kilobytes that become a hundred megabytes."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    packed = b"".join([packer.compress(zeros) for _ in range(100)]) + packer.flush()

    async def send(connection: Connection) -> None:
        for _ in range(attacker.plan.times):
            stream, opening = connection.headers(("grpc-encoding", b"gzip"))
            attacker.seen["sent"] += 1
            await connection.send(opening + h2.data_frames(stream, h2.message(packed, compressed=True), end=True))

    await attacker.everywhere(send)


async def slow_uploads(attacker: Attacker) -> None:
    """Messages of four megabytes of which the last byte never comes."""
    almost = struct.pack(">BI", 0, 4 * 1024 * 1024) + bytes(4 * 1024 * 1024 - 1)

    async def send(connection: Connection) -> None:
        streams = []
        for _ in range(attacker.plan.times):
            stream, opening = connection.headers()
            attacker.seen["sent"] += 1
            await connection.send(opening)
            streams.append(stream)
        await asyncio.gather(*(connection.upload(stream, almost) for stream in streams))

    await attacker.everywhere(send)


async def slow_preface(attacker: Attacker) -> None:
    """Connections that say their first words one byte at a time."""
    opened = [await attacker.raw(b"") for _ in range(attacker.plan.connections)]
    for position in range(len(h2.PREFACE) - 1):
        for one in opened:
            await one.send(h2.PREFACE[position : position + 1])
        attacker.stand()
        await asyncio.sleep(1)


async def silent_connections(attacker: Attacker) -> None:
    """Connections that never say anything."""
    for _ in range(attacker.plan.connections):
        await attacker.raw(b"")


async def mute_connections(attacker: Attacker) -> None:
    """Connections that are opened properly and then answer nothing, no ping either."""
    for _ in range(attacker.plan.connections):
        connection = await attacker.connection(listen=False)
        await attacker.repeat(connection, lambda one=connection: one.headers()[1])  # type: ignore[misc]


async def pings(attacker: Attacker) -> None:
    """Pings, as many as the connection takes."""
    ping = h2.frame(h2.PING, 0, 0, bytes(8))
    await attacker.everywhere(lambda one: attacker.repeat(one, lambda: ping))


async def settings_flood(attacker: Attacker) -> None:
    """Settings that change all the time."""
    one_setting = h2.settings((h2.INITIAL_WINDOW_SIZE, 65_535))
    await attacker.everywhere(lambda one: attacker.repeat(one, lambda: one_setting))


async def empty_frames(attacker: Attacker) -> None:
    """DATA frames with nothing in them, on a call that stays open."""

    async def send(connection: Connection) -> None:
        stream, opening = connection.headers()
        await connection.send(opening)
        nothing = h2.frame(h2.DATA, 0, stream)
        await attacker.repeat(connection, lambda: nothing)

    await attacker.everywhere(send)


async def window_overflow(attacker: Attacker) -> None:
    """Credit beyond what the protocol can count."""
    most = struct.pack(">I", 0x7FFFFFFF)

    async def send(connection: Connection) -> None:
        stream, opening = connection.headers()
        overflow = h2.frame(h2.WINDOW_UPDATE, 0, 0, most) + h2.frame(h2.WINDOW_UPDATE, 0, stream, most)
        await connection.send(opening)
        await attacker.repeat(connection, lambda: overflow)

    await attacker.everywhere(send)


async def huge_frames(attacker: Attacker) -> None:
    """Frames of 16 MB, a thousand times what was agreed."""
    megabyte = bytes(1 << 20)

    async def send(connection: Connection) -> None:
        stream, opening = connection.headers()
        await connection.send(opening + h2.frame_head(0xFFFFFF, h2.DATA, 0, stream))
        for _ in range(attacker.plan.times):
            attacker.seen["sent"] += 1
            await connection.send(megabyte)

    await attacker.everywhere(send)


async def garbage(attacker: Attacker) -> None:
    """Random bytes, with and without the preface."""
    for number in range(attacker.plan.connections):
        opening = h2.PREFACE + h2.settings() if number % 2 else b""
        connection = await attacker.raw(opening + os.urandom(64 * 1024))
        attacker.seen["sent"] += 1
        del connection


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        silent_calls,
        unknown_tokens,
        half_closed,
        unread,
        open_streams,
        rapid_reset,
        made_you_reset,
        large_metadata,
        endless_continuation,
        gzip_bomb,
        slow_uploads,
        slow_preface,
        silent_connections,
        mute_connections,
        pings,
        settings_flood,
        empty_frames,
        window_overflow,
        huge_frames,
        garbage,
    )
}


async def run(plan: Plan) -> Counter[str]:
    """Attack until standard input ends or the time is over; what was seen."""
    attacker = Attacker(plan)
    loop = asyncio.get_running_loop()

    def told() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            attacker.over.set()

    os.set_blocking(sys.stdin.fileno(), False)
    loop.add_reader(sys.stdin.fileno(), told)
    attacking = asyncio.ensure_future(ATTACKS[plan.attack](attacker))
    over = asyncio.ensure_future(attacker.over.wait())
    try:
        async with asyncio.timeout(min(plan.seconds, MOST_SECONDS)):
            await asyncio.wait((attacking, over), return_when=asyncio.FIRST_COMPLETED)
            attacker.stand()
            await over
    except TimeoutError:
        pass
    finally:
        for task in (attacking, over):
            task.cancel()
        await asyncio.gather(attacking, over, return_exceptions=True)
        for connection in attacker.connections:
            await connection.end()
    if attacking.done() and not attacking.cancelled() and (error := attacking.exception()) is not None:
        raise error
    return attacker.seen


def main() -> None:
    """Do what the plan says."""
    plan = Plan(**json.loads(sys.argv[1]))
    if not ipaddress.ip_address(plan.host).is_loopback:
        raise SystemExit(f"{plan.host} is not this machine")
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(asyncio.run(run(plan))), flush=True)


if __name__ == "__main__":
    main()
