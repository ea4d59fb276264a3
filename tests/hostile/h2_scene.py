"""A real server under attack, ten good clients beside, and what is measured of both.

The attackers are processes of their own (`h2_attacks`), so that what they burn is not taken from the good clients'
event loop; everything is on this machine and ends by itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio

from tenure.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2
from tests.acceptance.callers import Caller
from tests.acceptance.processes import ServerProcess
from tests.hostile.h2_attacker import Plan
from tests.proof.record import ROOT

T = TypeVar("T")

MEGABYTE = 1 << 20
GOOD_CLIENTS = 10
# How much the server may grow at most under any attack, whatever its size: 1.4 times the most seen (358 MB). One
# hostile caller is allowed ten thousand calls and streams (25 KB each), 64 MiB of answers that it does not read (each
# exists up to four times on its way out) or 64 messages of 4 MiB on their way in; a connection has up to 40 MB of
# frames that gRPC has read and not yet looked at.
MOST_GROWTH = 512 * MEGABYTE
# How long a good call may take at most, repeats included.
MOST_LATENCY_S = 30.0
# Turned away for now: what clients repeat, with the same request id.
LATER = {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
MOST_TRIES_S = 30.0
# Some attacks never get to their end: the server stops reading them.
MOST_BUILDING_S = 20.0
# Between the rounds of the good clients, which are not meant to be a flood themselves.
BREATH_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack: what `h2_attacks` is to do, and how long it is to last at least.

    Attributes:
        attack: its name in `h2_attacks`.
        name: for the report, where one attack is done in several ways.
        rpc: the method that its calls call.
        message: their request.
        anonymous: it has no token.
        sheds: so many calls come that the server may turn good ones away; they are repeated, as clients do.
        lasts_s: how long the good clients work beside it.
    """

    attack: str
    connections: int
    times: int
    name: str = ""
    rpc: str = "/tenure.v1.JobService/RetrieveJob"
    message: bytes = b""
    anonymous: bool = False
    sheds: bool = False
    lasts_s: float = 0.0

    @property
    def title(self) -> str:
        """What it is called in the report."""
        return self.name or self.attack


@dataclass(kw_only=True)
class Seen:
    """What was measured. Latencies in seconds, memory in bytes."""

    attack: Attack
    before_s: list[float]
    during_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    repeated: int = 0
    rss_before: int = 0
    rss_peak: int = 0
    rss_after: int = 0
    files_before: int = 0
    files_peak: int = 0
    files_after: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    serves: bool = False

    def violations(self) -> list[str]:
        """What did not hold, in words."""
        found = [f"{self.attack.title}: a good call failed: {one}" for one in self.failures[:3]]
        grown = self.rss_peak - self.rss_before
        if grown > MOST_GROWTH:
            found.append(f"{self.attack.title}: grew by {grown >> 20} MB, not at most {MOST_GROWTH >> 20} MB")
        if (slowest := max(self.during_s, default=0.0)) > MOST_LATENCY_S:
            found.append(f"{self.attack.title}: a good call took {slowest:.1f} s, not at most {MOST_LATENCY_S:.0f} s")
        if not self.serves:
            found.append(f"{self.attack.title}: the server does not serve afterwards")
        return found

    def figures(self) -> str:
        """Everything in one line, for the report."""
        before, during = self.before_s, self.during_s
        return (
            f"p50/p99 before {_ms(before, 50)}/{_ms(before, 99)} ms, during {_ms(during, 50)}/{_ms(during, 99)} ms, "
            f"at most {max(during, default=0.0) * 1000:.1f} ms "
            f"({len(during)} good calls, {self.repeated} repeated); RSS before/peak/after "
            f"{self.rss_before >> 20}/{self.rss_peak >> 20}/{self.rss_after >> 20} MB; "
            f"files {self.files_before}/{self.files_peak}/{self.files_after}; sent {self.answers.get('sent', 0)}, "
            f"answered {self.answers.get('calls answered', 0)}, reset {self.answers.get('RST_STREAM', 0)}, "
            f"connections closed {self.answers.get('connections closed by the server', 0)}"
        )


def _ms(values: Sequence[float], percent: int) -> str:
    if len(values) < 2:
        return "–"
    return f"{statistics.quantiles(values, n=100, method='inclusive')[percent - 1] * 1000:.1f}"


class Scene:
    """A server and ten good clients with tokens of their own; `hostile` is somebody else's token."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.hostile = ""
        self.good: list[Caller] = []

    async def prepare(self) -> None:
        """Make the tokens and the clients."""
        admin = Caller(self.server.address, self.server.admin_token())
        try:
            stub = admin_service_pb2_grpc.AdminServiceStub(admin.channel)
            secrets = []
            for name in ["hostile", *(f"good-{number}" for number in range(GOOD_CLIENTS))]:
                request = admin_service_pb2.CreateTokenRequest(role=admin_service_pb2.ROLE_USER, subject=name)
                secrets.append((await stub.CreateToken(request, metadata=admin.metadata, timeout=30)).secret)
        finally:
            await admin.close()
        self.hostile, *others = secrets
        self.good = [Caller(self.server.address, secret) for secret in others]

    async def close(self) -> None:
        """Drop the good clients."""
        for caller in self.good:
            await caller.close()

    async def work(self, rounds: int, took_s: list[float], seen: Seen) -> None:
        """Let the good clients create and retrieve; how long each call took."""
        await asyncio.gather(*(self._work(caller, rounds, took_s, seen) for caller in self.good))

    async def _work(self, caller: Caller, rounds: int, took_s: list[float], seen: Seen) -> None:
        specification = job_pb2.JobSpecification(queue="default", command="true")
        for _ in range(rounds):
            try:
                create = functools.partial(caller.create, specification, request_id=os.urandom(8).hex())
                job_id = await self._timed(create, took_s, seen)
                await self._timed(functools.partial(caller.retrieve, job_id), took_s, seen)
            except grpc.aio.AioRpcError as error:
                seen.failures.append(f"{error.code().name}: {error.details()}")

    async def _timed(self, call: Callable[[], Awaitable[T]], took_s: list[float], seen: Seen) -> T:
        began = time.monotonic()
        while True:
            try:
                answer = await call()
            except grpc.aio.AioRpcError as error:
                late = time.monotonic() > began + MOST_TRIES_S
                if late or not seen.attack.sheds or error.code() not in LATER:
                    raise
                seen.repeated += 1
                await asyncio.sleep(0.2)
            else:
                took_s.append(time.monotonic() - began)
                return answer

    async def under(self, attack: Attack, *, rounds: int) -> Seen:
        """Measure before, during and after an attack."""
        seen = Seen(attack=attack, before_s=[])
        await self.work(rounds, seen.before_s, seen)
        seen.rss_before, seen.files_before = self.memory(), self.files()
        watching = asyncio.ensure_future(self._watch(seen))
        try:
            async with attacking(self._plan(attack)) as program:
                began = time.monotonic()
                stood = False
                # While it is being built up, for as long as it is to last, and once more when it stands.
                while not stood or time.monotonic() < began + attack.lasts_s:
                    stood = program.stands or time.monotonic() > began + MOST_BUILDING_S
                    await self.work(rounds, seen.during_s, seen)
                    await asyncio.sleep(BREATH_S)
                seen.answers = await program.stop()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self._look(seen)
        served: list[float] = []
        await self.work(1, served, seen)
        seen.serves = len(served) == 2 * len(self.good)
        seen.rss_after, seen.files_after = self.memory(), self.files()
        return seen

    def memory(self) -> int:
        """Resident bytes of the server."""
        return int(self._status("VmRSS")) * 1024

    def files(self) -> int:
        """Open files of the server."""
        return len(os.listdir(f"/proc/{self.server.pid}/fd"))

    def _status(self, name: str) -> str:
        lines = Path(f"/proc/{self.server.pid}/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))

    async def _watch(self, seen: Seen) -> None:
        while True:
            self._look(seen)
            await asyncio.sleep(0.02)

    def _look(self, seen: Seen) -> None:
        seen.rss_peak = max(seen.rss_peak, self.memory())
        seen.files_peak = max(seen.files_peak, self.files())

    def _plan(self, attack: Attack) -> Plan:
        host, _, port = self.server.address.rpartition(":")
        return Plan(
            attack=attack.attack,
            host=host,
            port=int(port),
            connections=attack.connections,
            times=attack.times,
            seconds=attack.lasts_s + 60,
            path=attack.rpc,
            token="" if attack.anonymous else self.hostile,
            message=base64.b64encode(attack.message).decode(),
        )


class Program:
    """A running attacker.

    Attributes:
        stands: everything it wanted to send is sent.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[bytes] = []
        self._reading = asyncio.ensure_future(self._read())

    @property
    def stands(self) -> bool:
        """Everything that it wanted to send is sent."""
        return b"ready\n" in self._lines or self._reading.done()

    async def stop(self) -> dict[str, int]:
        """End the attack; what came back."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(30):
            await self._reading
            await self._process.wait()
        assert self._process.returncode == 0, f"the attacker broke: {self._lines!r}"
        answers: dict[str, int] = json.loads(self._lines[-1])
        return answers

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._lines.append(line)


@contextlib.asynccontextmanager
async def attacking(plan: Plan) -> AsyncIterator[Program]:
    """An attacker that has been started; ended in any case."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",  # it needs nothing that is installed, and begins sooner without
        "-m",
        "tests.hostile.h2_attacks",
        json.dumps(dataclasses.asdict(plan)),
        cwd=ROOT,
        env={"PATH": os.defpath},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
