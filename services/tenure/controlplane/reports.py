"""What became of attempts: a worker's reports as commands, and the answers to them.

All reports of one message are one commit. A report is answered once it is durable, and again whenever it is repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tenure.controlplane.handler import Handler, Step
from tenure.controlplane.leases import Leases, Live
from tenure.controlplane.session import Session
from tenure.controlplane.status import of_store_error
from tenure.controlplane.times import set_timestamp
from tenure.controlplane.upkeep import Upkeep
from tenure.controlplane.workers import Worker, Workers
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import check_repeat
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job
from tenure.runtime.clock import Clock
from tenure.runtime.logs import get_logger
from tenure.store.store import CommitOutcomeUnknown, Store, StoreError
from tenure.v1 import errors_pb2, job_pb2
from tenure.v1 import worker_service_pb2 as pb

log = get_logger("sessions")

_KINDS = {
    "started": pb.REPORT_KIND_STARTED,
    "failed": pb.REPORT_KIND_FAILED,
    "succeeded": pb.REPORT_KIND_SUCCEEDED,
    "released": pb.REPORT_KIND_RELEASED,
    "stopped": pb.REPORT_KIND_STOPPED,
}


class Reports:
    """Carries out reports.

    `store` is asked for the history of a job whose attempts are reported of late; `on_last` is told of every report of
    an end, with the worker's id, once it was carried out.
    """

    def __init__(
        self,
        *,
        handler: Handler,
        store: Store,
        clock: Clock,
        workers: Workers,
        leases: Leases,
        upkeep: Upkeep,
        on_last: Callable[[str, pb.Report.Item], None] = lambda worker_id, item: None,
    ) -> None:
        self._handler = handler
        self._store = store
        self._clock = clock
        self._workers = workers
        self._leases = leases
        self._upkeep = upkeep
        self._on_last = on_last

    async def answer(self, session: Session, report: pb.Report) -> None:
        """Carry out one message; what could not be written down is not answered, so that it is reported again.

        Raises:
            CommitOutcomeUnknown: the process is about to end.
        """
        # Whether an attempt may go on cannot be said while the end of its lease is on its way to the log.
        begun = [item.lease_id for item in report.items if item.WhichOneof("outcome") == "started"]
        await self._upkeep.until(lambda: not self._leases.any_ending(begun))
        if session.ended:
            return  # a newer stream was told what holds, and this is said again on it
        steps: list[Step] = []
        asked: list[int | None] = []
        for item in report.items:
            step = self._step(session.worker, item)
            asked.append(None if step is None else len(steps))
            if step is not None:
                steps.append(step)
        outcomes = await self._carry_out(session, steps) if steps else []
        if outcomes is not None:
            answers = [None if index is None else outcomes[index] for index in asked]
            ended = {
                item.lease_id
                for item, answer in zip(report.items, answers, strict=True)
                if isinstance(answer, Job) and item.WhichOneof("outcome") != "started"
            }
            for item, answer in zip(report.items, answers, strict=True):
                self._acknowledge(session, item, answer, ended)
                if item.WhichOneof("outcome") != "started":
                    self._on_last(session.worker.id, item)
        for item in report.items:
            if (live := self._leases.get(item.lease_id)) is not None:
                live.closing = False
        session.flush()

    async def _carry_out(self, session: Session, steps: list[Step]) -> list[Job | Refused] | None:
        try:
            executed = await self._handler.execute(steps, actor=f"worker:{session.worker.id}", partial=True)
            return [await self._told(step, job) for step, job in zip(steps, executed.jobs, strict=True)]
        except CommitOutcomeUnknown:
            raise
        except (StoreError, Refused) as error:
            log.warning("reports_postponed", reports=len(steps), error=type(error).__name__)
            refused = error if isinstance(error, Refused) else of_store_error(error)
            if refused is not None:
                session.refuse(refused.reason, refused.message, "report")
            return None

    async def _told(self, step: Step, outcome: Job | Refused) -> Job | Refused:
        """What came of a report.

        A job knows which end it accepted last. The repeat of an earlier one, said again after a later attempt has ended
        too, is found in its history.
        """
        command = step.command
        lost = isinstance(outcome, Refused) and outcome.reason is Reason.LEASE_LOST
        if not lost or not isinstance(command, c.Succeed | c.Fail | c.Release):
            return outcome
        view = (await self._store.view_jobs([step.job_id])).get(step.job_id)
        if view is None:
            return outcome
        try:
            check_repeat(command, next((one.end for one in view.attempts if one.lease_id == command.lease_id), ""))
        except Refused as refused:
            return refused
        return view.stored.job

    def _step(self, worker: Worker, item: pb.Report.Item) -> Step | None:
        """The command of a report; None: it changes no job."""
        live = self._leases.held_by(worker, item.lease_id)
        if live is not None:
            self._hear(live, item)
            job_id: str | None = live.job_id
        else:
            job_id = worker.past.get(item.lease_id)
        if job_id is None or (live is None and item.WhichOneof("outcome") == "stopped"):
            return None
        return Step(job_id=job_id, command=_command(item))

    def _hear(self, live: Live, item: pb.Report.Item) -> None:
        """A report counts as having been heard of, and as having accepted."""
        if live.accepted:
            self._leases.heard(live)
        else:
            self._leases.accept(live)
        if (worker := live.worker) is not None and (slot := worker.busy.get(live.lease_id)) is not None:
            slot.confirmed = True
        live.closing = item.WhichOneof("outcome") != "started"
        if item.HasField("last_beat"):
            live.beat = _last_beat(live.beat, item.last_beat, self._clock.wall_us())

    def _acknowledge(
        self, session: Session, item: pb.Report.Item, outcome: Job | Refused | None, ended: set[str]
    ) -> None:
        """Answer one report; `ended` are leases that reports of the same message have ended."""
        kind = item.WhichOneof("outcome") or ""
        live = self._leases.get(item.lease_id)
        ack = pb.ReportAck.Item(lease_id=item.lease_id, kind=_KINDS[kind], state=pb.LEASE_STATE_HELD)
        if kind == "stopped":
            # Nothing runs any more, whatever became of the lease.
            self._workers.release(session.worker, item.lease_id)
        elif not isinstance(outcome, Job) or (kind == "started" and live is None and item.lease_id not in ended):
            # A lease that somebody else has ended while `started` was written down: the command must not begin.
            ack.state = pb.LEASE_STATE_LOST
            ack.error = _error(outcome)
        elif kind == "started" and outcome.expires_us is not None:
            set_timestamp(ack.expires_at, outcome.expires_us)
        if kind != "started" and live is None:
            self._workers.release(session.worker, item.lease_id)
        session.outbox.reported(ack)


def counters_of(sync: job_pb2.SyncCounters) -> e.Transfer:
    """What an attempt has copied."""
    return e.Transfer(
        files_downloaded=sync.files_downloaded,
        files_uploaded=sync.files_uploaded,
        bytes_downloaded=sync.bytes_downloaded,
        bytes_uploaded=sync.bytes_uploaded,
        files_pending=sync.files_pending,
    )


def _command(item: pb.Report.Item) -> c.Command:
    lease_id = item.lease_id
    match item.WhichOneof("outcome"):
        case "started":
            return c.Start(lease_id=lease_id)
        case "failed":
            failed = item.failed
            return c.Fail(
                lease_id=lease_id,
                stage=e.Stage(failed.stage),
                exit_code=failed.exit_code if failed.HasField("exit_code") else None,
                signal=failed.signal if failed.HasField("signal") else None,
                oom=failed.oom,
                message=failed.message,
            )
        case "succeeded":
            return c.Succeed(lease_id=lease_id)
        case "released":
            return c.Release(lease_id=lease_id, reason=item.released.reason)
        case _:
            # It stopped under a lease that is live: its worker holds it for lost, and will not finish it.
            return c.Release(lease_id=lease_id, reason="its worker has stopped it")


def _last_beat(known: c.Beat | None, last: pb.FinalBeat, now_us: int) -> c.Beat:
    """The beat to write down at the end of the attempt; it was heard of now."""
    beat = known or c.Beat(count=0, at_us=now_us)
    progressed = last.HasField("progress")
    return replace(
        beat,
        count=max(beat.count, last.count),
        at_us=now_us if last.count > beat.count else beat.at_us,
        progress=last.progress.fraction if progressed else beat.progress,
        progress_message=last.progress.message if progressed else beat.progress_message,
        transfer=counters_of(last.sync) if last.HasField("sync") else beat.transfer,
    )


def _error(outcome: Job | Refused | None) -> errors_pb2.ErrorReason.ValueType:
    reason = outcome.reason if isinstance(outcome, Refused) else Reason.LEASE_LOST
    if reason is not Reason.OUTCOME_CONFLICT:
        return errors_pb2.ERROR_REASON_LEASE_LOST
    return errors_pb2.ERROR_REASON_OUTCOME_CONFLICT
