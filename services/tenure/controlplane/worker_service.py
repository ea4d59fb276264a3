"""WorkerService: machines offer themselves on one stream each and are given jobs; operators look at them.

This is also where everything that runs by itself is started: the dispatcher, the timers and the server's own commands,
as tasks of one group.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator

from tenure.controlplane.answers import Answers
from tenure.controlplane.call import BadMessage, Call, Messages, StreamCall
from tenure.controlplane.dispatcher import Dispatcher
from tenure.controlplane.fitness import Fitness, fitness
from tenure.controlplane.handler import Handler
from tenure.controlplane.leases import Leases
from tenure.controlplane.logs import Logs
from tenure.controlplane.pages import Pages, page_token_invalid
from tenure.controlplane.reports import Reports
from tenure.controlplane.sessions import Sessions
from tenure.controlplane.status import InvalidFields
from tenure.controlplane.timers import Timers
from tenure.controlplane.times import set_timestamp
from tenure.controlplane.upkeep import Upkeep
from tenure.controlplane.workers import Worker, Workers
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job
from tenure.runtime.clock import Clock
from tenure.runtime.groups import TaskGroup
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.store import Store
from tenure.v1 import worker_service_pb2 as pb

log = get_logger("workers")

PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
LEASES_PAGE = 1000
# For the first message, and for the leases to have been read at the start.
FIRST_MESSAGE_S = 10.0

# Where a worker stands in the list: it has gone, its id, its token's subject.
_Place = tuple[bool, str, str]
_FIRST: _Place = (False, "", "")


class WorkerService:
    """The servicer, and the owner of all that gives out jobs and watches over them."""

    def __init__(self, *, handler: Handler, store: Store, clock: Clock, ids: Ids, pages: Pages) -> None:
        self._handler = handler
        self._store = store
        self._clock = clock
        self._pages = pages
        self.loaded = asyncio.Event()
        self._workers = Workers(clock)
        self._leases = Leases(clock)
        self._upkeep = Upkeep(handler)
        self._timers = Timers(store=store, clock=clock, leases=self._leases, upkeep=self._upkeep)
        self._dispatcher = Dispatcher(
            handler=handler,
            store=store,
            clock=clock,
            ids=ids,
            workers=self._workers,
            leases=self._leases,
            timers=self._timers,
            upkeep=self._upkeep,
        )
        self._sessions = Sessions(
            clock=clock,
            workers=self._workers,
            leases=self._leases,
            timers=self._timers,
            upkeep=self._upkeep,
            dispatcher=self._dispatcher,
        )
        self.logs = Logs(store=store, clock=clock, leases=self._leases, queues=lambda: handler.queues)
        self._sessions.on_kept = self._leases.on_accepted = self.logs.held
        self._answers = Answers(
            handler=handler,
            clock=clock,
            workers=self._workers,
            leases=self._leases,
            upkeep=self._upkeep,
            sessions=self._sessions,
            reports=Reports(
                handler=handler,
                store=store,
                clock=clock,
                workers=self._workers,
                leases=self._leases,
                upkeep=self._upkeep,
                on_last=self.logs.reported,
            ),
        )
        handler.beat_of = self._leases.beat_of
        handler.observe(self._sessions.changed)
        handler.observe(self.logs.changed)
        handler.observe_queues(self._dispatcher.queue_changed)

    async def run(self) -> None:
        """Give out jobs and watch over them, for ever; started once, before the first call.

        `loaded` is set when the leases of the log are known; streams wait for it.

        Raises:
            StoreError: the store cannot be read at the start, or the outcome of a commit is unknown: the process is to
                end and start again. (In an ExceptionGroup.)
        """
        await self._load()
        async with TaskGroup() as group:
            group.create_task(self._upkeep.run(), name="upkeep")
            group.create_task(self._timers.run(), name="timers")
            group.create_task(self._timers.refresh(), name="horizon")
            group.create_task(self._timers.purge(), name="purge")
            group.create_task(self._dispatcher.run(), name="dispatcher")
            group.create_task(self.logs.run(), name="outputs")
            self.loaded.set()

    async def drain(self) -> None:
        """Give out nothing more and end all streams with DRAINING: workers go on and look for the next server.

        They are not sent Drain, which would make them finish and leave: that a server stops is no reason for that.
        """
        self._dispatcher.stop()
        self._leases.hold()
        self._sessions.end_all(Refused(Reason.DRAINING, "the server is stopping; connect again"))

    async def clock_corrected(self) -> None:
        """The clock's wall time has moved forwards.

        Raises:
            CommitOutcomeUnknown: the process is to end.
        """
        await self._timers.look_again()

    async def given_out(self) -> None:
        """Return when what is being given out at this instant has been, or was taken back."""
        await self._dispatcher.given_out()

    def fit(self, job: Job) -> Fitness:
        """Which workers of its queue a job could have now, and what is in the way of the others."""
        live = self._leases.of_job(job.id)
        return fitness(self._workers, live, job, self._clock.wall_us(), self._clock.monotonic_ns())

    def queue_workers(self, queue_name: str) -> tuple[int, int]:
        """How many workers are connected for a queue, and how many jobs they could take now."""
        return self._workers.of_queue(queue_name)

    @property
    def live_leases(self) -> int:
        """Leases that are live."""
        return len(self._leases)

    @property
    def open_sessions(self) -> int:
        """Workers that are connected."""
        return sum(worker.session is not None for worker in self._workers)

    def unclaimed_leases(self, worker_id: str) -> list[pb.HeldLease]:
        """Leases that the log gives to a worker of that id and that it has not named since the server's start."""
        return [
            pb.HeldLease(lease_id=live.lease_id, job_id=live.job_id, attempt=live.attempt)
            for live in self._leases.unclaimed(worker_id)
        ]

    async def connect(self, messages: Messages[pb.ConnectRequest], call: StreamCall) -> None:
        """The one stream of a worker, until it or the server ends it.

        Raises:
            Refused: HELLO_REQUIRED, PROTOCOL_UNSUPPORTED, QUEUE_NOT_ALLOWED, WORKER_CLONED, SESSION_SUPERSEDED,
                SLOW_CONSUMER, DRAINING, COMMIT_OUTCOME_UNKNOWN.
        """
        iterator = aiter(messages)
        hello = await self._hello(iterator)
        await self._decided(hello)
        session = self._sessions.open(hello, call)
        try:
            await session.run(iterator, self._answers.answer)
        finally:
            self._sessions.close(session)

    async def ship_logs(self, messages: Messages[pb.ShipLogsRequest], call: StreamCall) -> None:
        """The output of an attempt that somebody follows.

        Raises:
            Refused: LEASE_LOST, INVALID_FIELD, REQUEST_MISSING, SLOW_CONSUMER.
        """
        await self.logs.ship(messages, call)

    async def _hello(self, messages: AsyncIterator[pb.ConnectRequest | BadMessage]) -> pb.Hello:
        """The first message of a stream."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                await self.loaded.wait()
                first = await anext(messages, None)
        except TimeoutError:
            raise Refused(Reason.REQUEST_NOT_RECEIVED, "Hello did not arrive in time") from None
        if isinstance(first, BadMessage):
            raise InvalidFields(first.violations)
        if first is None or first.WhichOneof("message") != "hello":
            raise Refused(Reason.HELLO_REQUIRED, "the first message must be Hello", field="hello")
        return first.hello

    async def _decided(self, hello: pb.Hello) -> None:
        """Wait until it is known of every lease the worker names whether it is over: Welcome has to say so."""
        named = [held.lease_id for held in hello.leases]
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                await self._upkeep.until(lambda: not self._leases.any_ending(named))
        except TimeoutError:
            text = "the end of one of the worker's leases is being written down for long; connect again"
            raise Refused(Reason.COMMIT_OUTCOME_UNKNOWN, text) from None

    async def browse_workers(self, request: pb.BrowseWorkersRequest, call: Call) -> pb.BrowseWorkersResponse:
        """A page of the workers: those that are connected before those that have gone, both by id.

        What counts is how it was when the first page was read, so that one that comes or goes meanwhile is not missed.
        One that introduces itself anew meanwhile may be on two pages.
        """
        self._workers.forget()
        principal = call.identity.principal
        changes, after = self._workers.changes, _FIRST
        if (text := self._pages.read_text(request, principal)) is not None:
            changes, after = _read_place(text)

        def place(worker: Worker) -> _Place:
            return not worker.connected_at(changes), worker.id, worker.subject

        size = min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        wanted = (
            worker
            for worker in self._workers
            if (not request.queue or request.queue in worker.queues) and place(worker) > after
        )
        page = heapq.nsmallest(size + 1, wanted, key=place)
        response = pb.BrowseWorkersResponse(workers=[self._message(worker) for worker in page[:size]])
        if len(page) > size:
            text = _place_text(changes, place(page[size - 1]))
            response.next_page_token = self._pages.make((text,), request, principal)
        return response

    async def drain_workers(self, request: pb.DrainWorkersRequest, call: Call) -> pb.DrainWorkersResponse:
        """Ask workers to finish and take no more."""
        wanted = frozenset(request.worker_ids)
        told: dict[str, None] = {}
        drain = pb.Drain(release=request.release, reason="an operator asked for it")
        for worker in self._workers:
            if worker.id in wanted and worker.session is not None:
                self._workers.drain(worker)
                worker.session.outbox.direct(pb.ConnectResponse(drain=drain))
                worker.session.flush()
                told[worker.id] = None
        log.info("workers_drained", workers=len(told), release=request.release, by=call.identity.principal)
        return pb.DrainWorkersResponse(worker_ids=[one for one in dict.fromkeys(request.worker_ids) if one in told])

    async def _load(self) -> None:
        """Take over the leases and the instants of the log, before anything is given out or runs out."""
        after_id = ""
        while True:
            page = await self._store.leased(after_id, LEASES_PAGE)
            for job in page:
                if job.lease is not None and self._leases.of_job(job.id) is None:
                    self._leases.adopt(job, job.lease)
            if len(page) < LEASES_PAGE:
                break
            after_id = page[-1].id
        await self._timers.load()
        if len(self._leases):
            log.info("leases_adopted", leases=len(self._leases))

    def _message(self, worker: Worker) -> pb.Worker:
        message = pb.Worker(
            id=worker.id,
            subject=worker.subject,
            queues=worker.queues,
            slots=worker.slots,
            busy_slots=len(worker.busy),
            labels=worker.labels,
            connected=worker.session is not None,
            draining=worker.draining,
            job_ids=sorted({slot.job_id for slot in worker.busy.values()}),
            hostname=worker.hostname,
            agent_version=worker.agent_version,
        )
        set_timestamp(message.since, worker.since_us)
        if worker.suspect_until_us is not None:
            set_timestamp(message.suspect_until, worker.suspect_until_us)
        return message


def _place_text(changes: int, place: _Place) -> str:
    away, worker_id, subject = place
    return "\x00".join((str(changes), "away" if away else "", worker_id, subject))


def _read_place(text: str) -> tuple[int, _Place]:
    match text.split("\x00", 3):
        case [changes, "away" | "" as away, worker_id, subject] if changes.isdecimal():
            return int(changes), (bool(away), worker_id, subject)
        case _:  # made by a version that had another order
            raise page_token_invalid()
