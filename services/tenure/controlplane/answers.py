"""What a worker says, carried out and answered: accepting, declining, beating, growing, leaving.

Reports of what became of attempts are in `reports`.
"""

from __future__ import annotations

from tenure.controlplane.handler import Handler, Step
from tenure.controlplane.leases import Leases, Live
from tenure.controlplane.reports import Reports, counters_of
from tenure.controlplane.session import Session
from tenure.controlplane.sessions import Sessions
from tenure.controlplane.times import set_duration, set_timestamp
from tenure.controlplane.upkeep import Upkeep
from tenure.controlplane.workers import Workers
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.store.store import CommitOutcomeUnknown, StoreError
from tenure.v1 import worker_service_pb2 as pb

log = get_logger("sessions")

# A beat is written down at most so often, however often a worker beats.
RECORD_EVERY_NS = 60_000_000_000


class Answers:
    """Answers every kind of message of one stream after the other; what needs a commit holds up only its like."""

    def __init__(
        self,
        *,
        handler: Handler,
        clock: Clock,
        workers: Workers,
        leases: Leases,
        upkeep: Upkeep,
        sessions: Sessions,
        reports: Reports,
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._workers = workers
        self._leases = leases
        self._upkeep = upkeep
        self._sessions = sessions
        self._reports = reports

    async def answer(self, session: Session, message: pb.ConnectRequest) -> bool:
        """Carry out one message; False: it was Goodbye.

        Raises:
            Refused: a second Hello, or the store is about to end the process.
        """
        match message.WhichOneof("message"):
            case "heartbeat":
                self._heartbeat(session, message.heartbeat)
            case "accept":
                self._accept(session, message.accept)
            case "report":
                session.later(lambda: self._reports.answer(session, message.report))
            case "decline":
                session.later(lambda: self._decline(session, message.decline))
            case "capacity":
                self._workers.resize(session.worker, message.capacity.slots)
            case "goodbye":
                await session.settled()
                self._goodbye(session, message.goodbye)
                return False
            case _:
                raise Refused(Reason.HELLO_REQUIRED, "Hello is the first message, and is sent once", field="hello")
        return True

    def _accept(self, session: Session, accept: pb.Accept) -> None:
        worker = session.worker
        now_ns = self._clock.monotonic_ns()
        for lease_id in accept.lease_ids:
            live = self._leases.held_by(worker, lease_id)
            if live is None or live.ending or (not live.accepted and live.ends_ns <= now_ns):
                session.outbox.accepted(pb.AcceptAck.Item(lease_id=lease_id, state=pb.LEASE_STATE_LOST))
                if live is None and (slot := worker.busy.get(lease_id)) is not None and not slot.confirmed:
                    self._workers.release(worker, lease_id)
                continue
            self._leases.accept(live)
            known = False
            if (slot := worker.busy.get(lease_id)) is not None:
                known, slot.confirmed = slot.confirmed, True
            item = pb.AcceptAck.Item(lease_id=lease_id, state=pb.LEASE_STATE_HELD)
            if live.expires_us is not None:
                set_timestamp(item.expires_at, live.expires_us)
            session.outbox.accepted(item, known=known)
            self._sessions.remind(live)
        session.flush()

    def _heartbeat(self, session: Session, heartbeat: pb.Heartbeat) -> None:
        now_ns, now_us = self._clock.monotonic_ns(), self._clock.wall_us()
        items: list[pb.HeartbeatAck.Item] = []
        for beat in heartbeat.beats:
            live = self._leases.held_by(session.worker, beat.lease_id)
            if live is None:
                items.append(pb.HeartbeatAck.Item(lease_id=beat.lease_id, state=pb.LEASE_STATE_LOST))
                continue
            if live.ending:
                live.passed_over += 1  # neither held nor lost: its worker is told which when that is known
                continue
            self._leases.heard(live)
            live.beat = _beat(live, beat, now_us)
            self._record(live, now_ns)
            item = pb.HeartbeatAck.Item(lease_id=beat.lease_id, state=pb.LEASE_STATE_HELD)
            set_duration(item.next_interval, live.interval_us)
            if live.expires_us is not None:
                set_timestamp(item.expires_at, live.expires_us)
            # Its worker takes the answers for those of its beats in order: one for each, or it would lag for good.
            items += [item] * (live.passed_over + 1)
            live.passed_over = 0
        session.outbox.heard(items)
        session.flush()

    def _record(self, live: Live, now_ns: int) -> None:
        """Have the beat written down if it is due: the first of an attempt, and then now and again."""
        every_ns = max(live.interval_us * 1000, RECORD_EVERY_NS)
        if live.beat is None or (live.recorded_ns is not None and now_ns - live.recorded_ns < every_ns):
            return
        live.recorded_ns = now_ns
        self._upkeep.add(live.job_id, c.Record(lease_id=live.lease_id, beat=live.beat))

    async def _decline(self, session: Session, decline: pb.Decline) -> None:
        worker = session.worker
        steps: list[Step] = []
        for item in decline.items:
            live = self._leases.held_by(worker, item.lease_id)
            if live is not None and not live.started:
                live.closing = True
                reason = item.reason or "the worker did not take it"
                steps.append(Step(job_id=live.job_id, command=c.Decline(lease_id=live.lease_id, reason=reason)))
        if steps:
            try:
                await self._handler.execute(steps, actor=f"worker:{session.worker.id}", partial=True)
            except CommitOutcomeUnknown:
                raise
            except (StoreError, Refused) as error:
                # The assignment is taken back when its time to be accepted is over.
                log.warning("decline_postponed", leases=len(steps), error=type(error).__name__)
        for item in decline.items:
            live = self._leases.held_by(worker, item.lease_id)
            if live is not None:
                live.closing = False
            if live is None or not live.started:
                self._workers.release(worker, item.lease_id)

    def _goodbye(self, session: Session, goodbye: pb.Goodbye) -> None:
        worker = session.worker
        log.info("worker_goodbye", worker_id=worker.id, subject=worker.subject, why=goodbye.reason)
        for lease_id in list(worker.busy):
            live = self._leases.held_by(worker, lease_id)
            if live is not None and not live.accepted:
                command = c.Decline(lease_id=lease_id, reason="the worker has left")
                self._upkeep.add(live.job_id, command)


def _beat(live: Live, beat: pb.Beat, now_us: int) -> c.Beat:
    known = live.beat
    progressed = beat.HasField("progress")
    return c.Beat(
        count=max(beat.count, known.count if known is not None else 0),
        at_us=now_us,
        stage=e.Stage(beat.stage),
        progress=beat.progress.fraction if progressed else (known.progress if known is not None else None),
        progress_message=beat.progress.message if progressed else (known.progress_message if known is not None else ""),
        transfer=counters_of(beat.sync),
    )
