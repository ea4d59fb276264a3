"""The streams that are open: who may open one, what becomes of the leases a worker names, and what a worker is told
when somebody else has changed one of its jobs.
"""

from __future__ import annotations

from collections.abc import Callable

from tenure import __version__
from tenure.controlplane.call import StreamCall
from tenure.controlplane.dispatcher import Dispatcher
from tenure.controlplane.handler import Change
from tenure.controlplane.leases import Leases, Live
from tenure.controlplane.session import Session
from tenure.controlplane.timers import Timers
from tenure.controlplane.times import set_duration, set_timestamp
from tenure.controlplane.upkeep import Upkeep
from tenure.controlplane.workers import SUSPECT_NS, Slot, Worker, Workers
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job, Lease
from tenure.domain.states import Phase
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.v1 import worker_service_pb2 as pb

log = get_logger("sessions")

PROTOCOL_VERSION = 1
# A lease that is over, named by a worker of which it is not known what it was told: its slot is free after this at the
# latest, as the worker may see no need to report that it stopped.
RECLAIM_NS = 60_000_000_000


class Sessions:
    """All open streams, and the messages that the server sends on its own account.

    `on_kept` is told of every lease that a new stream goes on with.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        workers: Workers,
        leases: Leases,
        timers: Timers,
        upkeep: Upkeep,
        dispatcher: Dispatcher,
    ) -> None:
        self._clock = clock
        self._workers = workers
        self._leases = leases
        self._timers = timers
        self._upkeep = upkeep
        self._dispatcher = dispatcher
        self._opened = 0
        self.on_kept: Callable[[Live], None] = lambda live: None
        timers.on_near = self.warn

    # --- streams ----------------------------------------------------------------------------------------------------

    def open(self, hello: pb.Hello, call: StreamCall) -> Session:
        """Let a worker in: its older stream ends, and Welcome is the first thing it is sent.

        Raises:
            Refused: PROTOCOL_UNSUPPORTED, QUEUE_NOT_ALLOWED, WORKER_CLONED.
        """
        queues = _check(hello, call)
        worker = self._workers.get((call.identity.subject, hello.worker_id))
        if worker.cloned(hello.incarnation, self._clock.monotonic_ns()):
            log.warning("worker_cloned", worker_id=worker.id, subject=worker.subject)
            raise Refused(
                Reason.WORKER_CLONED,
                f"several processes use the worker id {worker.id} in turn; give each its own work directory",
            )
        older = worker.session
        self._opened += 1
        session = Session(f"{hello.incarnation}.{self._opened}", worker, call)
        # From here on nothing waits: no change may come between the verdicts and the state they were made from.
        known = worker.busy
        self._workers.connected(worker, hello, queues, session)
        if older is not None:
            older.end(Refused(Reason.SESSION_SUPERSEDED, "a newer stream of this worker has taken over"))
        self._welcome(session, hello, queues, known)
        self._give_up_unnamed(worker, known)
        self._dispatcher.joined(worker)
        self._workers.ready(worker)
        log.info("worker_connected", worker_id=worker.id, subject=worker.subject, session_id=session.id)
        return session

    def close(self, session: Session) -> None:
        """A stream has ended. Nothing follows from that for any job."""
        worker = session.worker
        if worker.session is session:
            self._workers.disconnected(worker, session)
            self._dispatcher.left(worker)
            log.info("worker_disconnected", worker_id=worker.id, subject=worker.subject, session_id=session.id)

    def end_all(self, refused: Refused) -> None:
        """End all streams."""
        for worker in self._workers:
            if worker.session is not None:
                worker.session.end(refused)

    def _welcome(self, session: Session, hello: pb.Hello, queues: tuple[str, ...], known: dict[str, Slot]) -> None:
        worker = session.worker
        message = pb.ConnectResponse()
        welcome = message.welcome  # part of the message: what is given to a constructor is copied
        welcome.session_id, welcome.server_version = session.id, __version__
        welcome.queues.extend(queues)
        set_timestamp(welcome.server_time, self._clock.wall_us())
        session.outbox.direct(message)
        for held in hello.leases:
            live = self._claim(worker, held)
            verdict = welcome.leases.add(lease_id=held.lease_id)
            if live is None:
                verdict.message = "the lease is over"
                self._keep_slot(worker, held, known.get(held.lease_id))
                continue
            verdict.keep = True
            set_duration(verdict.lease, live.length_ns // 1000)
            if live.expires_us is not None:
                set_timestamp(verdict.expires_at, live.expires_us)
            slot = known.get(held.lease_id) or Slot(live.job_id, confirmed=live.accepted)
            self._workers.occupy(worker, live.lease_id, slot)
            self._leases.named(live)
            self.remind(live)
            self.on_kept(live)
        if any(slot.unsure for slot in worker.busy.values()):
            generation = worker.generation
            self._timers.after(RECLAIM_NS, lambda: self._reclaim(worker, generation))
        session.flush()

    def _claim(self, worker: Worker, held: pb.HeldLease) -> Live | None:
        """The live lease that a worker names, if it is its own."""
        live = self._leases.get(held.lease_id)
        if live is None or live.job_id != held.job_id or live.worker_id != worker.id:
            return None
        if live.worker is None:
            # Another worker that only has the same id: a worker is known by its token's subject as well.
            if live.subject not in ("", worker.subject):
                return None
            self._leases.claim(live, worker)
        return live if live.worker is worker else None

    def _keep_slot(self, worker: Worker, held: pb.HeldLease, slot: Slot | None) -> None:
        """Something may still run under a lease that is over; its slot is busy until the worker says it stopped."""
        worker.past.setdefault(held.lease_id, held.job_id)
        worker.remember(held.lease_id, worker.past[held.lease_id])
        if slot is not None and not slot.confirmed:
            return
        slot = slot or Slot(held.job_id, confirmed=True, unsure=True)
        self._workers.occupy(worker, held.lease_id, slot)

    def _reclaim(self, worker: Worker, generation: int) -> None:
        if worker.generation == generation:
            for lease_id in [lease_id for lease_id, slot in worker.busy.items() if slot.unsure]:
                self._workers.release(worker, lease_id)

    def _give_up_unnamed(self, worker: Worker, known: dict[str, Slot]) -> None:
        """Leases that the worker should hold and does not name: the process that had them is gone."""
        lost = [live for lease_id in known if (live := self._leases.held_by(worker, lease_id)) is not None]
        for live in (*lost, *self._leases.unclaimed(worker.id, worker.subject)):
            if live.lease_id in worker.busy:
                continue
            if not live.started:
                self._upkeep.add(
                    live.job_id, c.Decline(lease_id=live.lease_id, reason="its worker does not know of it")
                )
            # Also after a Decline, which is refused where the start is just being written down.
            silence_us = (self._clock.monotonic_ns() - live.heard_ns) // 1000
            self._upkeep.add(live.job_id, c.ExpireLease(lease_id=live.lease_id, silence_us=silence_us))

    # --- what is told to a worker -----------------------------------------------------------------------------------

    def remind(self, live: Live) -> None:
        """Say again what was said of a job before its worker held it, or to a stream that is gone."""
        now_us = self._clock.wall_us()
        if live.stopping:
            self._tell_cancelled(live, "the job is being cancelled")
        elif live.stop_us is not None and live.stop_us <= now_us:
            live.warned_us = None
            self.warn(live)

    def warn(self, live: Live) -> None:
        """The job's time ends soon: tell the worker, once for each deadline, as soon as it holds the lease."""
        if live.stopping or not live.accepted or live.expires_us is None or live.warned_us == live.expires_us:
            return
        live.warned_us = live.expires_us
        self._stop(live, pb.STOP_REASON_EXPIRING, live.expires_us, "the job's time is nearly over")

    def _tell_cancelled(self, live: Live, message: str) -> None:
        if live.due_us is not None:
            self._stop(live, pb.STOP_REASON_CANCEL_REQUESTED, live.due_us, message)

    def _stop(self, live: Live, reason: pb.StopReason.ValueType, until_us: int, message: str) -> None:
        session = live.worker.session if live.worker is not None else None
        if session is None:
            return
        item = pb.Stop.Item(lease_id=live.lease_id, reason=reason, message=message)
        set_duration(item.grace, max(0, until_us - self._clock.wall_us()))
        session.outbox.stop(item)
        session.flush()

    # --- changes ----------------------------------------------------------------------------------------------------

    def changed(self, change: Change) -> None:
        """Follow a commit: leases begin and end, deadlines move. Called before anybody has an answer to it."""
        job = change.after
        old = change.before.lease if change.before is not None else None
        new = job.lease
        same = old is not None and new is not None and old.lease_id == new.lease_id
        live = self._leases.get(old.lease_id) if old is not None else None
        if same:
            if live is not None and not self._moved(live, change):
                return
        else:
            if live is not None:
                self._ended(live, change)
            if new is not None:
                self._begun(job, new)
        self._waits(change, live)
        self._timers.watch(job)

    def _begun(self, job: Job, lease: Lease) -> None:
        given = self._dispatcher.claim(lease.lease_id)
        if given is None:
            self._leases.adopt(job, lease)
        else:
            self._leases.add(job, lease, given.worker, given.ready.place)

    def _moved(self, live: Live, change: Change) -> bool:
        """The lease goes on; False: nothing but a beat was written down."""
        if all(isinstance(event.payload, e.JobHeartbeat) for event in change.events):
            return False
        live.follow(change.after)
        for event in change.events:
            match event.payload:
                case e.JobExtended():
                    self._tell_deadline(live)
                case e.CancelRequested(reason=reason):
                    self._tell_cancelled(live, reason or "the job was cancelled")
                case _:
                    pass
        return True

    def _tell_deadline(self, live: Live) -> None:
        session = live.worker.session if live.worker is not None else None
        if session is None or live.expires_us is None:
            return
        item = pb.DeadlineChanged.Item(lease_id=live.lease_id)
        set_timestamp(item.expires_at, live.expires_us)
        session.outbox.deadline(item)
        session.flush()

    def _ended(self, live: Live, change: Change) -> None:
        self._leases.remove(live)
        worker = live.worker
        if worker is None:
            return
        worker.remember(live.lease_id, live.job_id)
        self._judge(worker, live, change)
        if live.closing:
            return  # the worker has said so itself, and whoever answers it frees the slot
        slot = worker.busy.get(live.lease_id)
        session = worker.session
        if slot is None:
            return  # the worker does not know of it any more
        if session is not None:
            unsent = session.outbox.take_back_assignment(live.lease_id)
            if session.outbox.take_back_held(live.lease_id):
                slot.confirmed = False
            if not unsent:
                message = change.after.reason or "the lease is over"
                item = pb.Stop.Item(lease_id=live.lease_id, reason=pb.STOP_REASON_LEASE_REVOKED, message=message)
                item.grace.SetInParent()
                session.outbox.stop(item)
            session.flush()
        if not slot.confirmed:
            self._workers.release(worker, live.lease_id)

    def _judge(self, worker: Worker, live: Live, change: Change) -> None:
        """Whether the worker is one on which everything fails."""
        if change.after.outcome is e.Outcome.COMPLETED:
            worker.succeeded()
            return
        failed = any(isinstance(event.payload, e.AttemptFailed) for event in change.events)
        if failed and not live.stopping and worker.failed(live.job_id):
            self._workers.suspect(worker)
            self._timers.after(SUSPECT_NS, lambda: self._workers.cleared(worker))

    def _waits(self, change: Change, live: Live | None) -> None:
        """Tell the dispatcher which jobs wait."""
        job, before = change.after, change.before
        if job.phase is not Phase.QUEUED:
            if before is not None and before.phase is Phase.QUEUED and job.phase is Phase.FINAL:
                self._dispatcher.gone(job)
        elif before is None:
            first = change.events[0].payload
            if isinstance(first, e.JobCreated):
                self._dispatcher.created(job, first.specification, change.position)
        elif before.phase is not Phase.QUEUED:
            self._dispatcher.queued(job, live.place if live is not None else None)


def _check(hello: pb.Hello, call: StreamCall) -> tuple[str, ...]:
    """The queues that the worker is served from."""
    if hello.protocol_version != PROTOCOL_VERSION:
        raise Refused(
            Reason.PROTOCOL_UNSUPPORTED,
            f"protocol version {hello.protocol_version} is not spoken here, {PROTOCOL_VERSION} is",
            field="hello.protocol_version",
            metadata={"minimum": str(PROTOCOL_VERSION), "maximum": str(PROTOCOL_VERSION)},
        )
    allowed = call.identity.queues
    queues = tuple(dict.fromkeys(queue for queue in hello.queues if not allowed or queue in allowed))
    if not queues:
        raise Refused(
            Reason.QUEUE_NOT_ALLOWED,
            f"the worker's token is for other queues: {', '.join(allowed)}",
            field="hello.queues",
        )
    return queues
