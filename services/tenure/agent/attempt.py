"""One attempt, read from top to bottom in `Attempt._steps`: prepare, copy the input, ask leave, run, copy the output.

Whatever happens on the way becomes one outcome, which is reported until it is acknowledged. Orders to stop come from
the holding; between the acknowledgement of `started` and the execution of the command nothing waits, so that a job that
was terminated before never starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tenure.agent import environment
from tenure.agent.copying import Copying, CopyingFactory
from tenure.agent.gate import LeaseGate
from tenure.agent.holding import Holding, Observation
from tenure.agent.interruption import Interrupted, Interruption
from tenure.agent.ledger import NS, Ledger
from tenure.agent.outcome import Failed, Outcome, Released, StopCause, StopOrder, Stopped, Succeeded
from tenure.agent.runner import CommandLine, CommandNotStarted, Exit, Ladder, Runner, RunningCommand
from tenure.agent.sync.gate import FencedOff
from tenure.agent.sync.retry import SyncRefused, SyncUnreachable
from tenure.agent.waiting import Changes, settle
from tenure.agent.workdir import AttemptFolder, AttemptFolders
from tenure.runtime.clock import Clock
from tenure.runtime.logs import Logger, get_logger
from tenure.v1 import job_pb2

log = get_logger("attempt")

_LAST_LINES = 3
TROUBLE_PAUSE_S = 15.0
# An end that was announced and is so long overdue does not come.
OVERDUE_NS = 60 * NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all attempts of a worker share.

    Attributes:
        agent_environment: the agent's own; PATH and LANG are taken from it.
        passed: variables that the operator lets through to every job.
    """

    clock: Clock
    ledger: Ledger
    runner: Runner
    folders: AttemptFolders
    copying: CopyingFactory
    agent_environment: Mapping[str, str]
    passed: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where an attempt works: its folder, its sync, and what that has copied."""

    folder: AttemptFolder
    copying: Copying
    copied: Callable[[], job_pb2.SyncCounters]


class Attempt:
    """The work of one confirmed assignment."""

    def __init__(self, holding: Holding, slot: int, around: Surroundings) -> None:
        self._holding = holding
        self._assignment = holding.assignment
        self._slot = slot
        self._around = around
        self._changes = Changes(around.clock)
        self._gate = LeaseGate(holding.lease, around.clock, self._changes)
        self._log: Logger = log.bind(job_id=self._assignment.job_id, attempt=self._assignment.attempt)
        self._stop = Interruption(holding, self._changes, around.clock)
        self._place: _Place | None = None
        self._command: RunningCommand | None = None
        self._uploaded = 0
        self._told_deadline: int | None = None

    async def run(self) -> None:
        """Do all of it; returns when nothing runs, nothing is owed and the folder is gone."""
        self._holding.listener = self._changed
        try:
            outcome = await self._outcome()
            self._observe()  # so that what was uploaded last is said before the end
            self._say(outcome)
            self._around.ledger.finish(self._holding, outcome)
            await self._changes.until(lambda: self._holding.settled)
        finally:
            await self._quiet()
            await self._clean()

    async def _outcome(self) -> Outcome:
        try:
            outcome = await self._steps()
        except Interrupted:
            outcome = await self._given_up()
        except SyncRefused as error:
            outcome = Failed(stage=self._holding.stage, message=str(error))
        except SyncUnreachable as error:
            outcome = Released(reason=f"object store unreachable: {error}")
        except FencedOff:
            outcome = Stopped()
        except CommandNotStarted as error:
            outcome = Failed(stage=job_pb2.ATTEMPT_STAGE_RUN, message=str(error))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._log.error("no_room", why=reason)
            # The next attempt would meet the same here: do not hand jobs back as fast as they come.
            await self._changes.until(self._stop.ordered, TROUBLE_PAUSE_S)
            outcome = Released(reason=f"the worker's disk or system refused: {reason}")
        except Exception:
            # One attempt's trouble must not take the others down. It counts as a failure, so that it ends some day.
            self._log.exception("attempt_broke")
            outcome = Failed(stage=self._holding.stage, message="the worker met an internal error; its log has more")
        await self._quiet()
        return Stopped() if self._holding.over else outcome

    async def _steps(self) -> Outcome:
        """The attempt, step by step."""
        place = await self._prepare()
        await self._copy_input(place)
        await self._ask_leave()
        command = await self._start(place)
        end, order = await self._attend(place, command)
        self._holding.stage = job_pb2.ATTEMPT_STAGE_SYNC_AFTER
        if order is not None:
            return await self._after_order(place)
        if end.code != 0:
            return await self._after_failure(place, end, command)
        return await self._after_success(place)

    async def _prepare(self) -> _Place:
        self._stop.check()
        folder = await self._around.folders.make(self._assignment.name)
        copying, copied = self._around.copying(
            self._assignment, folder, self._gate, lambda: self._around.ledger.deadline_ns(self._holding)
        )
        self._place = _Place(folder=folder, copying=copying, copied=copied)
        self._holding.observe = self._observe
        self._changed()
        return self._place

    async def _copy_input(self, place: _Place) -> None:
        self._holding.stage = job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
        await self._stop.unless(self._stop.any_order(), place.copying.before)
        copied = place.copied()
        if copied.files_downloaded:
            self._log.info("resumed", files=copied.files_downloaded, bytes=copied.bytes_downloaded)
        await self._stop.unless(self._stop.any_order(), place.copying.start_during)

    async def _ask_leave(self) -> None:
        """Wait until the server has confirmed that the command may start."""
        self._stop.check()
        self._around.ledger.announce_started(self._holding)
        await self._changes.until(lambda: self._holding.started or self._stop.ordered())

    async def _start(self, place: _Place) -> RunningCommand:
        self._stop.check()
        self._holding.stage = job_pb2.ATTEMPT_STAGE_RUN
        self._command = await self._around.runner.start(
            CommandLine(
                name=self._assignment.name,
                program=self._assignment.command,
                arguments=self._assignment.arguments,
                environment=self._environment(place.folder),
                directory=place.folder.job_dir,
                output=self._holding.output,
            )
        )
        self._log.info("started", command=self._assignment.command)
        return self._command

    async def _attend(self, place: _Place, command: RunningCommand) -> tuple[Exit, StopOrder | None]:
        """Wait for the end of the command, and stop it when there is an order to.

        Returns:
            How it ended, and the order if it was stopped by us.

        Raises:
            SyncRefused, SyncUnreachable, FencedOff: the uploads gave up, and the command was stopped for it.
        """
        end = asyncio.ensure_future(command.wait())
        trouble = asyncio.ensure_future(place.copying.wait_failed())
        for task in (end, trouble):
            task.add_done_callback(lambda _: self._changes.pulse())
        try:
            await self._stop.until(lambda: end.done() or trouble.done() or self._stop.ordered())
            if end.done():
                return end.result(), None
            order = self._stop.strongest()
            await self._bring_down(command, end, order)
            if order is not None:
                return await end, order
            if isinstance(trouble.result(), SyncRefused):
                await self._last_pass(place)  # one file that is refused is no reason to lose the others
            raise trouble.result()
        finally:
            await settle(end, trouble)

    async def _bring_down(self, command: RunningCommand, end: asyncio.Future[Exit], order: StopOrder | None) -> None:
        """Stop the command: at once, or down the ladder of signals."""
        ladder = Ladder(terminate_after_ns=self._assignment.grace_ns)
        if order is not None:
            self._log.info("stopping", why=order.reason)
            if order.grace_ns is not None:
                ladder = ladder.inside(order.grace_ns)
        if not self._stop.at_once():
            signals = asyncio.ensure_future(ladder.descend(command, self._around.clock))
            try:
                await self._changes.until(lambda: end.done() or self._stop.at_once())
            finally:
                await settle(signals)
        if not end.done():
            command.kill()
            await asyncio.wait((end,))

    async def _after_order(self, place: _Place) -> Outcome:
        """The command was stopped by us: a last pass, then what the strongest order asks for."""
        await self._last_pass(place)
        return await self._given_up()

    async def _after_failure(self, place: _Place, end: Exit, command: RunningCommand) -> Outcome:
        await self._last_pass(place)
        return Failed(
            stage=job_pb2.ATTEMPT_STAGE_RUN,
            message=command.output.last_lines(_LAST_LINES),
            exit_code=end.code,
            signal=end.signal,
            oom=end.oom,
        )

    async def _after_success(self, place: _Place) -> Outcome:
        await self._stop.unless(self._stop.upload_over(), place.copying.finish_during)
        await self._stop.unless(self._stop.upload_over(), place.copying.after)
        return Succeeded()

    async def _given_up(self) -> Outcome:
        """What an attempt comes to that was ordered to stop and has done so."""
        if self._stop.only_expiring():
            # The deadline ends the attempt, not we. Should it move now, the job deserves another attempt.
            await self._changes.until(
                lambda: not self._stop.only_expiring() or self._stop.deadline_moved(), self._overdue_s()
            )
            if self._stop.only_expiring():
                if self._stop.deadline_moved():
                    return Released(reason="its time was extended after the command had been stopped")
                # By the clock of a server that was started again since, the end may be hours away.
                return Released(reason="the command was stopped as its time was ending, and the end did not come")
        order = self._stop.strongest()
        return Stopped() if order is None or self._holding.over else Released(reason=order.reason)

    def _overdue_s(self) -> float:
        """For how long the end that was announced is waited for."""
        order = self._stop.strongest()
        end_ns = order.at_ns + (order.grace_ns or 0) if order is not None else 0
        return (end_ns + OVERDUE_NS - self._around.clock.monotonic_ns()) / NS

    async def _last_pass(self, place: _Place) -> None:
        """Save what the command wrote last; what stands in its way does not change why the attempt ended."""
        try:
            await self._stop.unless(self._stop.upload_over(), place.copying.finish_during)
        except (SyncRefused, SyncUnreachable) as error:
            self._log.warning("last_upload_failed", why=str(error))
        except Interrupted:
            self._stop.check_at_once()
            self._log.warning("last_upload_failed", why="there was no time left for it")

    async def _quiet(self) -> None:
        """Nothing of it runs any more, and nothing more is written."""
        if self._command is not None:
            self._command.kill()
            await self._command.wait()
        self._holding.output.close()
        if self._place is not None:
            await self._place.copying.close()

    async def _clean(self) -> None:
        if self._place is None:
            return
        # What stands in the way of one is no reason to leave the other.
        for clean in (self._place.copying.clean, self._place.folder.remove):
            try:
                await clean()
            except (OSError, SyncRefused) as error:
                self._log.warning("not_cleaned", why=str(error))

    # What the attempt tells.

    def _changed(self) -> None:
        if self._place is not None and self._holding.deadline_us != self._told_deadline:
            self._told_deadline = self._holding.deadline_us
            self._place.folder.write_deadline(self._told_deadline)
        self._changes.pulse()

    def _observe(self) -> Observation:
        if self._place is None:
            return Observation()
        copied = self._place.copied()
        if copied.files_uploaded > self._uploaded:
            self._uploaded = copied.files_uploaded
            self._log.info("uploaded", files=copied.files_uploaded, bytes=copied.bytes_uploaded)
        return Observation(progress=self._place.folder.progress(), sync=copied)

    def _environment(self, folder: AttemptFolder) -> dict[str, str]:
        job = environment.JobEnvironment(
            job_id=self._assignment.job_id,
            attempt=self._assignment.attempt,
            slot=self._slot,
            job_dir=folder.job_dir,
            home=folder.home,
            tmp=folder.tmp,
            deadline_file=folder.deadline_file,
            progress_file=folder.progress_file,
            parameters=self._assignment.parameters,
            opened_file=self._assignment.opened_file,
        )
        return environment.build(
            job,
            agent=self._around.agent_environment,
            passed=self._around.passed,
            own=self._assignment.environment,
        )

    def _say(self, outcome: Outcome) -> None:
        match outcome:
            case Succeeded():
                self._log.info("finished", outcome="succeeded")
            case Failed():
                stage = job_pb2.AttemptStage.Name(outcome.stage).removeprefix("ATTEMPT_STAGE_").lower()
                told: dict[str, int | str | None] = {"exit_code": outcome.exit_code, "signal": outcome.signal}
                if not any(told.values()):
                    # Otherwise it is what the command has printed last, which is its owner's business.
                    told["why"] = outcome.message
                self._log.info("finished", outcome="failed", stage=stage, **{k: v for k, v in told.items() if v})
            case Released():
                self._log.info("released", why=outcome.reason)
            case Stopped():
                lost = self._holding.orders.get(StopCause.LOST)
                self._log.warning("lost", why=lost.reason if lost else "the lease is over")
