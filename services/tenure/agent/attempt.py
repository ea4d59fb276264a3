"""One attempt, read from top to bottom in `Attempt._steps`: prepare, copy the input, ask leave, run, copy the output.

Whatever happens on the way becomes one outcome, which is reported until it is acknowledged. Orders to stop come from
the holding; between the acknowledgement of `started` and the execution of the command nothing waits, so that a job that
was terminated before never starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from tenure.agent import environment
from tenure.agent.copying import CopyingFactory
from tenure.agent.gate import LeaseGate
from tenure.agent.holding import Holding, Observation
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

# Orders that leave no time for anything.
_AT_ONCE = (StopCause.LOST, StopCause.ABANDON)
# A draining worker gives the last upload so long after the command's own grace.
DRAIN_UPLOAD_NS = 30 * NS
_LAST_LINES = 3


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


class _Interrupted(Exception):
    """An order ended a step."""


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
        self._folder: AttemptFolder | None = None
        self._command: RunningCommand | None = None
        self._uploaded = 0
        self._told_deadline: int | None = None

    async def run(self) -> None:
        """Do all of it; returns when nothing runs, nothing is owed and the folder is gone."""
        self._holding.listener = self._changed
        try:
            outcome = await self._outcome()
            self._say(outcome)
            self._around.ledger.finish(self._holding, outcome)
            await self._changes.until(lambda: self._holding.settled)
        finally:
            await self._quiet()
            await self._clean()

    async def _outcome(self) -> Outcome:
        try:
            outcome = await self._steps()
        except _Interrupted:
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
            outcome = Released(reason=f"the worker's disk or system refused: {reason}")
        except Exception:
            # One attempt's trouble must not take the others down. It counts as a failure, so that it ends some day.
            self._log.exception("attempt_broke")
            outcome = Failed(stage=self._holding.stage, message="the worker met an internal error; its log has more")
        await self._quiet()
        return Stopped() if self._holding.over else outcome

    async def _steps(self) -> Outcome:
        """The attempt, step by step."""
        await self._prepare()
        await self._copy_input()
        await self._ask_leave()
        command = await self._start()
        exit_, order = await self._attend(command)
        self._holding.stage = job_pb2.ATTEMPT_STAGE_SYNC_AFTER
        if order is not None:
            return await self._after_order()
        if exit_.code != 0:
            return await self._after_failure(exit_, command)
        return await self._after_success()

    async def _prepare(self) -> None:
        self._check()
        folder = await self._around.folders.make(self._assignment.name)
        self._folder = folder
        self._copying, self._counters = self._around.copying(
            self._assignment, folder, self._gate, lambda: self._around.ledger.deadline_ns(self._holding)
        )
        self._holding.observe = self._observe
        self._changed()

    async def _copy_input(self) -> None:
        self._holding.stage = job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
        await self._unless(self._any_order(), self._copying.before)
        copied = self._counters()
        if copied.files_downloaded:
            self._log.info("resumed", files=copied.files_downloaded, bytes=copied.bytes_downloaded)
        await self._unless(self._any_order(), self._copying.start_during)

    async def _ask_leave(self) -> None:
        """Wait until the server has confirmed that the command may start."""
        self._check()
        self._around.ledger.announce_started(self._holding)
        await self._changes.until(lambda: self._holding.started or bool(self._holding.orders))

    async def _start(self) -> RunningCommand:
        self._check()
        if self._folder is None:
            raise _Interrupted
        self._holding.stage = job_pb2.ATTEMPT_STAGE_RUN
        command = await self._around.runner.start(
            CommandLine(
                name=self._assignment.name,
                program=self._assignment.command,
                arguments=self._assignment.arguments,
                environment=self._environment(self._folder),
                directory=self._folder.job_dir,
            )
        )
        self._command = command
        self._log.info("started", command=self._assignment.command)
        return command

    async def _attend(self, command: RunningCommand) -> tuple[Exit, StopOrder | None]:
        """Wait for the end of the command, and stop it when there is an order to.

        Returns:
            How it ended, and the order if it was stopped by us.

        Raises:
            SyncRefused, SyncUnreachable, FencedOff: the uploads gave up, and the command was stopped for it.
        """
        end = asyncio.ensure_future(command.wait())
        trouble = asyncio.ensure_future(self._copying.wait_failed())
        for task in (end, trouble):
            task.add_done_callback(lambda _: self._changes.pulse())
        try:
            await self._until_stop(lambda: end.done() or trouble.done() or bool(self._holding.orders))
            if end.done():
                return end.result(), None
            order = self._order() if self._holding.orders else None
            await self._bring_down(command, end, order)
            if order is None:
                raise trouble.result()
            return await end, order
        finally:
            await settle(end, trouble)

    async def _until_stop(self, condition: Callable[[], bool]) -> None:
        """Wait for the condition; give the order to stop when there was no contact for too long."""
        while not condition():
            now_ns = self._around.clock.monotonic_ns()
            left_ns = self._holding.lease.disconnected_left_ns(now_ns, self._assignment.max_disconnected_ns)
            if left_ns:
                await self._changes.until(condition, left_ns / NS)
                continue
            silent_s = (now_ns - self._holding.lease.heard_ns) // NS
            reason = f"the worker could not reach the server for {silent_s} s"
            self._holding.order(StopOrder(cause=StopCause.DISCONNECTED, at_ns=now_ns, reason=reason))

    async def _bring_down(self, command: RunningCommand, end: asyncio.Future[Exit], order: StopOrder | None) -> None:
        """Stop the command: at once, or down the ladder of signals."""
        ladder = Ladder(terminate_after_ns=self._assignment.grace_ns)
        if order is not None:
            self._log.info("stopping", why=order.reason)
            if order.grace_ns is not None:
                ladder = ladder.inside(order.grace_ns)
        if not self._at_once():
            signals = asyncio.ensure_future(ladder.descend(command, self._around.clock))
            try:
                await self._changes.until(lambda: end.done() or self._at_once())
            finally:
                await settle(signals)
        if not end.done():
            command.kill()
            await asyncio.wait((end,))

    async def _after_order(self) -> Outcome:
        """The command was stopped by us: a last pass, then what the strongest order asks for."""
        await self._last_pass()
        return await self._given_up()

    async def _after_failure(self, end: Exit, command: RunningCommand) -> Outcome:
        await self._last_pass()
        lines = command.output.last_lines(_LAST_LINES)
        return Failed(
            stage=job_pb2.ATTEMPT_STAGE_RUN,
            message=f"{end}: {lines}" if lines else str(end),
            exit_code=end.code,
            signal=end.signal,
            oom=end.oom,
        )

    async def _after_success(self) -> Outcome:
        await self._unless(self._upload_over(), self._copying.finish_during)
        await self._unless(self._upload_over(), self._copying.after)
        return Succeeded()

    async def _given_up(self) -> Outcome:
        """What an attempt comes to that was ordered to stop and has done so."""
        if set(self._holding.orders) == {StopCause.EXPIRE}:
            # The deadline ends the attempt, not we. Should it move now, the job deserves another attempt.
            await self._changes.until(lambda: len(self._holding.orders) > 1 or self._deadline_moved())
            if set(self._holding.orders) == {StopCause.EXPIRE}:
                return Released(reason="its time was extended after the command had been stopped")
        if self._holding.over or not self._holding.orders:
            return Stopped()
        return Released(reason=self._order().reason)

    async def _last_pass(self) -> None:
        """Save what the command wrote last; what stands in its way does not change why the attempt ended."""
        try:
            await self._unless(self._upload_over(), self._copying.finish_during)
        except (SyncRefused, SyncUnreachable) as error:
            self._log.warning("last_upload_failed", why=str(error))
        except _Interrupted:
            self._check_at_once()
            self._log.warning("last_upload_failed", why="there was no time left for it")

    async def _quiet(self) -> None:
        """Nothing of it runs any more, and nothing more is written."""
        if self._command is not None:
            self._command.kill()
            await self._command.wait()
        if self._folder is not None:
            await self._copying.close()

    async def _clean(self) -> None:
        if self._folder is None:
            return
        try:
            await self._copying.clean()
            await self._folder.remove()
        except (OSError, SyncRefused) as error:
            self._log.warning("not_cleaned", why=str(error))

    # What may interrupt a step.

    async def _unless(self, watch: Coroutine[Any, Any, None], step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do a step until `watch` returns.

        Raises:
            _Interrupted: it returned first; the step was cancelled.
        """
        stop = asyncio.ensure_future(watch)
        # Let `watch` look first: a step that is not to be done is not begun.
        await asyncio.sleep(0)
        if stop.done():
            await settle(stop)
            raise _Interrupted
        work = asyncio.ensure_future(step())
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _Interrupted
            work.result()
        finally:
            await settle(work, stop)

    async def _any_order(self) -> None:
        await self._until_stop(lambda: bool(self._holding.orders))

    async def _upload_over(self) -> None:
        """Return when an upload has to end: the lease is lost, or a drain has no more time."""
        await self._changes.until(lambda: self._at_once() or StopCause.RELEASE in self._holding.orders)
        if not self._at_once():
            until_ns = self._holding.orders[StopCause.RELEASE].at_ns + self._assignment.grace_ns + DRAIN_UPLOAD_NS
            await self._changes.until(self._at_once, (until_ns - self._around.clock.monotonic_ns()) / NS)

    def _check(self) -> None:
        if self._holding.orders:
            raise _Interrupted

    def _check_at_once(self) -> None:
        if self._at_once():
            raise _Interrupted

    def _at_once(self) -> bool:
        return any(cause in self._holding.orders for cause in _AT_ONCE)

    def _order(self) -> StopOrder:
        """The order that leaves the least room."""
        return next(self._holding.orders[cause] for cause in StopCause if cause in self._holding.orders)

    def _deadline_moved(self) -> bool:
        now, then = self._holding.deadline_us, self._holding.orders[StopCause.EXPIRE].deadline_us
        return now is not None and then is not None and now > then

    # What the attempt tells.

    def _changed(self) -> None:
        if self._folder is not None and self._holding.deadline_us != self._told_deadline:
            self._told_deadline = self._holding.deadline_us
            self._folder.write_deadline(self._told_deadline)
        self._changes.pulse()

    def _observe(self) -> Observation:
        counters = self._counters()
        if counters.files_uploaded > self._uploaded:
            self._uploaded = counters.files_uploaded
            self._log.info("uploaded", files=counters.files_uploaded, bytes=counters.bytes_uploaded)
        return Observation(progress=self._folder.progress() if self._folder else None, sync=counters)

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
                self._log.info("finished", outcome="failed", stage=stage, why=outcome.message)
            case Released():
                self._log.info("released", why=outcome.reason)
            case Stopped():
                lost = self._holding.orders.get(StopCause.LOST)
                self._log.warning("lost", why=lost.reason if lost else "the lease is over")
