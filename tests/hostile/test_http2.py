"""Attacks on the HTTP/2 level: a hostile client must not starve ten good ones, nor fill the server's memory.

Real `tenure serve`, real sockets, raw frames. What the limits are for is said in `controlplane/shares.py` and
`controlplane/listening.py`; how large the attacks are depends on `TENURE_PROVE`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tenure.v1 import job_pb2, job_service_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.processes import ServerProcess
from tests.acceptance.waiting import eventually
from tests.hostile import h2_frames as h2
from tests.hostile.h2_attacker import Attacker, Connection, Plan
from tests.hostile.h2_scene import MEGABYTE, MOST_GROWTH, MOST_LATENCY_S, Attack, Scene, Seen
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL, size

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

# Of calls and of streams, in the short form, so that its small attacks could fill the server as well.
SHORT_PLACES = 300

RETRIEVE = job_service_pb2.RetrieveJobRequest(id="nobody's").SerializeToString()
WATCH = job_service_pb2.WatchJobsRequest().SerializeToString()
BROWSE = job_service_pb2.BrowseJobsRequest(page_size=1000).SerializeToString()
JOBS = "/tenure.v1.JobService"


def attacks() -> list[Attack]:
    """All of them."""
    lasts_s = float(size(short=0, full=8))

    def attack(kind: str, connections: int, times: int, *, message: bytes = RETRIEVE, **more: Any) -> Attack:
        return Attack(attack=kind, connections=connections, times=times, message=message, lasts_s=lasts_s, **more)

    def anonymous(kind: str, times: int, name: str, rpc: str) -> Attack:
        return attack(kind, wide, times, name=name, rpc=f"/grpc.health.v1.Health/{rpc}", message=b"", anonymous=True)

    watch: dict[str, Any] = {"rpc": f"{JOBS}/WatchJobs", "message": WATCH}
    browse: dict[str, Any] = {"rpc": f"{JOBS}/BrowseJobs", "message": BROWSE}
    wide = size(short=2, full=10)
    many = size(short=100, full=800)
    places = size(short=SHORT_PLACES, full=1000)
    uploads = size(short=30, full=100)
    frames = size(short=5000, full=200_000)
    return [
        # Places: calls and streams that are held open.
        attack("silent_calls", wide, places),
        anonymous("silent_calls", places, "silent_health_checks", "Check"),
        attack("half_closed", wide, size(short=300, full=5000)),
        attack("unknown_tokens", wide, size(short=300, full=5000)),
        attack("open_streams", wide, size(short=100, full=500), name="open_watches", **watch),
        anonymous("open_streams", places, "open_health_watches", "Watch"),
        # Memory: answers that nobody reads, and messages that never end.
        attack("unread", wide, size(short=60, full=100), name="unread_answers", **browse),
        attack("unread", wide, size(short=60, full=200), name="unread_watches", **watch),
        attack("slow_uploads", wide, uploads),
        anonymous("slow_uploads", uploads, "slow_anonymous_uploads", "Check"),
        # Floods. Calls that are given up at once pile up before the server has looked at them, whoever has sent them.
        attack("rapid_reset", wide, size(short=500, full=20_000), sheds=FULL),
        attack("made_you_reset", wide, size(short=200, full=5000)),
        attack("large_metadata", wide, size(short=5, full=100)),
        attack("endless_continuation", wide, size(short=300, full=20_000)),
        attack("gzip_bomb", wide, size(short=2, full=50)),
        attack("pings", wide, frames),
        attack("settings_flood", wide, frames),
        attack("empty_frames", wide, frames),
        attack("window_overflow", wide, 5),
        attack("huge_frames", wide, 16),
        attack("garbage", many, 1),
        # Connections.
        attack("slow_preface", many, 1),
        attack("silent_connections", many, 1),
        attack("mute_connections", many, 10),
    ]


async def make_large_jobs(scene: Scene) -> None:
    """Jobs of the hostile caller, so that it has answers of some megabytes to leave unread."""
    caller = Caller(scene.server.address, scene.hostile)
    try:
        large = job_pb2.JobSpecification(queue="default", command="true", arguments=["x" * 100_000])
        await caller.create_many([large] * 35)
    finally:
        await caller.close()


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Scene]:
    """A server that is small where the attacks are, so that they could fill it."""
    limits = directory / "limits.toml"
    limits.parent.mkdir(parents=True, exist_ok=True)
    limits.write_text(f"[limits]\ncalls = {SHORT_PLACES}\nstreams = {SHORT_PLACES}\n")
    server = ServerProcess(directory, more=() if FULL else ("--config", str(limits)))
    try:
        await server.up()
        scene = Scene(server)
        await scene.prepare()
        try:
            await make_large_jobs(scene)
            yield scene
        finally:
            await scene.close()
    finally:
        server.close()


async def all_seen(directory: Path) -> list[Seen]:
    """What was seen in each attack; the long form gives every one a fresh server."""
    rounds = size(short=1, full=3)
    if not FULL:
        async with opened(directory) as scene:
            return [await scene.under(attack, rounds=rounds) for attack in attacks()]
    found = []
    for attack in attacks():
        async with opened(directory / attack.title) as scene:
            found.append(await scene.under(attack, rounds=rounds))
    return found


async def test_a_hostile_client_neither_starves_the_others_nor_fills_the_memory(tmp_path: Path) -> None:
    began = time.monotonic()
    bites = await slots_are_held_by_calls_without_a_message()
    found = await all_seen(tmp_path)
    settle(
        Proof(
            name="http2-attacks",
            promise="A client that breaks the rules of HTTP/2, or keeps them all and never reads, fails no call of ten "
            f"good clients beside it, each of which is answered within {MOST_LATENCY_S:.0f} s, and does not make the "
            f"server grow by more than {MOST_GROWTH // MEGABYTE} MB; it serves on afterwards.",
            fault="Raw frames on loopback, one attack after the other, each by a process of its own.",
            runs=len(found),
            faults=sum(seen.answers.get("sent", seen.attack.connections) for seen in found),
            acknowledged=sum(len(seen.before_s) + len(seen.during_s) for seen in found),
            violations=[violation for seen in found for violation in seen.violations()],
            figures={seen.attack.title: seen.figures() for seen in found},
            control="a usual server (unary handlers behind an interceptor that checks the token, three calls at once) "
            "is shut to everybody by three calls without a message and without a token",
            bites=bites,
            seconds=round(time.monotonic() - began, 1),
        )
    )


# --- the control --------------------------------------------------------------------------------------------------

ECHO = "/control.Echo/Echo"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """The usual way: a call without a token gets a handler that refuses, which gRPC runs when it has the message."""

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if any(key == "authorization" for key, _ in handler_call_details.invocation_metadata):
            return await continuation(handler_call_details)

        async def refuse(_request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

        return grpc.unary_unary_rpc_method_handler(refuse)


async def slots_are_held_by_calls_without_a_message() -> bool:
    """Whether the same attack shuts a server that is built in the usual way."""

    async def echo(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    server = grpc.aio.server(
        interceptors=[TokenInterceptor()], maximum_concurrent_rpcs=3, options=[("grpc.so_reuseport", 0)]
    )
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("control.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    plan = Plan(attack="", host="127.0.0.1", port=port, connections=1, times=3, seconds=30, path=ECHO)
    attacker = Attacker(plan)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ECHO)

            async def refused() -> bool:
                try:
                    await call(b"x", metadata=(("authorization", "Bearer good"),), timeout=20)
                except grpc.aio.AioRpcError as error:
                    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                return False

            assert not await refused()
            connection: Connection = await attacker.raw(h2.PREFACE + h2.settings())
            await attacker.repeat(connection, lambda: connection.headers()[1])
            try:
                return await eventually(refused, within_s=10)
            except AssertionError:
                return False
    finally:
        for one in attacker.connections:
            await one.end()
        await server.stop(0)
