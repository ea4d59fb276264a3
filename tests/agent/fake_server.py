"""A worker service that a test plays by hand, on a real grpc.aio server.

Beats are answered by themselves (unless the test says otherwise); everything else waits for the test.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from tenure.v1 import job_pb2, worker_service_pb2_grpc
from tenure.v1 import worker_service_pb2 as pb
from tests.servers.ports import own_port

HELD, LOST = pb.LEASE_STATE_HELD, pb.LEASE_STATE_LOST
WAIT_S = 20.0
_STATUS_DETAILS = "grpc-status-details-bin"


def span(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def instant(us: int) -> Timestamp:
    message = Timestamp()
    message.FromMicroseconds(us)
    return message


def assignment(
    lease_id: str = "lease-1",
    *,
    command: str = "true",
    arguments: tuple[str, ...] = (),
    job_id: str = "",
    attempt: int = 1,
    lease_s: float = 60.0,
    beat_s: float = 0.2,
    grace_s: float = 5.0,
    accept_s: float = 10.0,
    expires_at_us: int | None = None,
    specification: job_pb2.JobSpecification | None = None,
) -> pb.Assignment:
    message = pb.Assignment(
        lease_id=lease_id,
        job_id=job_id or f"job-of-{lease_id}",
        attempt=attempt,
        specification=specification or job_pb2.JobSpecification(),
        command=command,
        arguments=arguments,
        lease=span(lease_s),
        heartbeat_interval=span(beat_s),
        accept_within=span(accept_s),
        termination_grace_period=span(grace_s),
        queue="default",
    )
    if expires_at_us is not None:
        message.expires_at.CopyFrom(instant(expires_at_us))
    return message


class Session:
    """One stream of a worker, as the test sees it."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], server: FakeServer) -> None:
        self._context = context
        self._server = server
        self._waiting: dict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self.beats: list[pb.Beat] = []
        self.heartbeats: list[pb.Heartbeat] = []
        self.over = asyncio.Event()
        self._writing = asyncio.Lock()
        self._status: tuple[grpc.StatusCode, str, str] | None = None

    async def next(self, kind: str) -> Any:
        """The next message of a kind."""
        async with asyncio.timeout(WAIT_S):
            return await self._waiting[kind].get()

    def nothing(self, kind: str) -> bool:
        """No message of a kind is waiting."""
        return self._waiting[kind].empty()

    async def send(self, **message: Any) -> None:
        # grpc.aio does not take two writes at once, and beats are answered beside what the test says.
        async with self._writing:
            await self._context.write(pb.ConnectResponse(**message))

    async def welcome(self, *verdicts: pb.LeaseVerdict, queues: tuple[str, ...] = ("default",)) -> pb.Hello:
        hello = cast(pb.Hello, await self.next("hello"))
        now = instant(self._server.wall_us())
        await self.send(welcome=pb.Welcome(session_id="s", leases=verdicts, queues=queues, server_time=now))
        return hello

    async def keep(self, *lease_ids: str, lease_s: float = 60.0) -> pb.Hello:
        return await self.welcome(
            *(pb.LeaseVerdict(lease_id=each, keep=True, lease=span(lease_s)) for each in lease_ids)
        )

    async def assign(self, *items: pb.Assignment) -> None:
        await self.send(assignments=pb.Assignments(items=items))

    async def accepted(self, state: pb.LeaseState.ValueType = HELD, expires_at_us: int | None = None) -> list[str]:
        """Answer the next Accept."""
        leases = list((await self.next("accept")).lease_ids)
        end = instant(expires_at_us) if expires_at_us is not None else None
        items = [pb.AcceptAck.Item(lease_id=each, state=state, expires_at=end) for each in leases]
        await self.send(accept_ack=pb.AcceptAck(items=items))
        return leases

    async def reported(
        self, kind: str, state: pb.LeaseState.ValueType = HELD, *, answer: bool = True
    ) -> pb.Report.Item:
        """The next report, which has to be of this kind; answered."""
        item: pb.Report.Item = await self.next("report")
        assert item.WhichOneof("outcome") == kind, item
        if answer:
            await self.answer_report(item, state)
        return item

    async def answer_report(self, item: pb.Report.Item, state: pb.LeaseState.ValueType = HELD) -> None:
        kind = pb.ReportKind.Value(f"REPORT_KIND_{(item.WhichOneof('outcome') or '').upper()}")
        await self.send(
            report_ack=pb.ReportAck(items=[pb.ReportAck.Item(lease_id=item.lease_id, state=state, kind=kind)])
        )

    async def started(self, *items: pb.Assignment) -> None:
        """Assign and answer up to the acknowledged start."""
        await self.assign(*items)
        accepted = 0
        while accepted < len(items):
            accepted += len(await self.accepted())
        for _ in items:
            await self.reported("started")

    async def stop(self, lease_id: str, reason: pb.StopReason.ValueType, grace_s: float = 0.0) -> None:
        item = pb.Stop.Item(lease_id=lease_id, reason=reason, grace=span(grace_s))
        await self.send(stop=pb.Stop(items=[item]))

    async def follow(self, *lease_ids: str) -> None:
        await self.send(follow_output=pb.FollowOutput(lease_ids=lease_ids))

    async def revoke(self, lease_id: str = "lease-1") -> None:
        await self.stop(lease_id, pb.STOP_REASON_LEASE_REVOKED)

    def end(self, code: grpc.StatusCode | None = None, reason: str = "", message: str = "") -> None:
        """End the stream: cleanly, or with a status."""
        self._status = (code, reason, message) if code is not None else None
        self.over.set()

    async def beat(self, lease_id: str = "lease-1", more: int = 1) -> pb.Beat:
        """Wait until so many more beats of a lease have come; the last one."""
        first = len([each for each in self.beats if each.lease_id == lease_id])
        async with asyncio.timeout(WAIT_S):
            while True:
                mine = [each for each in self.beats if each.lease_id == lease_id]
                if len(mine) >= first + more:
                    return mine[-1]
                await asyncio.sleep(0.01)

    async def run(self, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        reader = asyncio.ensure_future(self._read(requests))
        over = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait((reader, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            over.cancel()
            await asyncio.gather(reader, over, return_exceptions=True)
        if self._status is not None:
            code, reason, message = self._status
            status = status_pb2.Status(code=code.value[0], message=message)
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tenure"))
            self._context.set_trailing_metadata(((_STATUS_DETAILS, status.SerializeToString()),))
            await self._context.abort(code, message)

    async def _read(self, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        async for request in requests:
            kind = request.WhichOneof("message") or ""
            if kind == "heartbeat":
                await self._beaten(request.heartbeat)
            elif kind == "report":
                for item in request.report.items:
                    self._waiting[kind].put_nowait(item)
            else:
                self._waiting[kind].put_nowait(getattr(request, kind))
        self._waiting["end"].put_nowait(None)

    async def _beaten(self, heartbeat: pb.Heartbeat) -> None:
        self.heartbeats.append(heartbeat)
        self.beats.extend(heartbeat.beats)
        items = [self._server.answer_beat(beat) for beat in heartbeat.beats]
        if all(item is not None for item in items):
            await self.send(heartbeat_ack=pb.HeartbeatAck(items=[item for item in items if item is not None]))


class Shipment:
    """One call of ShipLogs, as the test sees it.

    Attributes:
        pieces: what has come, without the first message.
        reading: while it is clear, nothing more is read.
        over: set it, and the call ends.
    """

    def __init__(self, lease_id: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.lease_id = lease_id
        self.pieces: list[pb.ShipLogsRequest] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.over = asyncio.Event()
        self.gone = asyncio.Event()
        self._context = context
        self._news = asyncio.Event()

    async def begin(self, from_offset: int = 0) -> None:
        await self._context.write(pb.ShipLogsResponse(lease_id=self.lease_id, from_offset=from_offset))

    async def stop(self) -> None:
        await self._context.write(pb.ShipLogsResponse(lease_id=self.lease_id, stop=True))

    def data(self) -> bytes:
        return b"".join(piece.data for piece in self.pieces)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition on what has come."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def end(self) -> pb.ShipLogsRequest:
        """The message that says that nothing more comes."""
        await self.until(lambda: self.pieces and self.pieces[-1].end)
        return self.pieces[-1]

    async def run(self, requests: AsyncIterator[pb.ShipLogsRequest]) -> None:
        reader = asyncio.ensure_future(self._read(requests))
        over = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait((reader, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.gone.set()
            reader.cancel()
            over.cancel()
            await asyncio.gather(reader, over, return_exceptions=True)

    async def _read(self, requests: AsyncIterator[pb.ShipLogsRequest]) -> None:
        await self.reading.wait()
        async for piece in requests:
            self.pieces.append(piece)
            self._news.set()
            await self.reading.wait()


class FakeServer(worker_service_pb2_grpc.WorkerServiceServicer):
    """Takes streams and hands them to the test.

    Attributes:
        lost: leases whose beats are answered LOST.
        silent: beats are not answered at all.
        deadlines: told with every beat, by lease.
    """

    def __init__(self, wall_us: Callable[[], int]) -> None:
        self.wall_us = wall_us
        self.lost: set[str] = set()
        self.silent = False
        self.deadlines: dict[str, int] = {}
        self.port = 0
        self.metadata: list[dict[str, str | bytes]] = []
        self._arrived: asyncio.Queue[Session] = asyncio.Queue()
        self._shipments: asyncio.Queue[Shipment] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen: on a free port, later on the same one again."""
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port or own_port()}")
        await self._server.start()

    async def stop(self) -> None:
        """Gone at once, with every stream."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def session(self) -> Session:
        """The next stream that a worker has opened."""
        async with asyncio.timeout(WAIT_S):
            return await self._arrived.get()

    def no_session(self) -> bool:
        """No stream waits to be looked at."""
        return self._arrived.empty()

    async def shipment(self) -> Shipment:
        """The next call that brings output."""
        async with asyncio.timeout(WAIT_S):
            return await self._shipments.get()

    def no_shipment(self) -> bool:
        """No call that brings output waits to be looked at."""
        return self._shipments.empty()

    def answer_beat(self, beat: pb.Beat) -> pb.HeartbeatAck.Item | None:
        if self.silent:
            return None
        end = self.deadlines.get(beat.lease_id)
        return pb.HeartbeatAck.Item(
            lease_id=beat.lease_id,
            state=LOST if beat.lease_id in self.lost else HELD,
            expires_at=instant(end) if end is not None else None,
        )

    async def Connect(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        self.metadata.append(dict(context.invocation_metadata()))
        session = Session(context, self)
        self._arrived.put_nowait(session)
        await session.run(request_iterator)

    async def ShipLogs(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        requests = aiter(request_iterator)
        shipment = Shipment((await anext(requests)).lease_id, context)
        self._shipments.put_nowait(shipment)
        await shipment.run(requests)

    def BrowseWorkers(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise AssertionError

    def DrainWorkers(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise AssertionError
