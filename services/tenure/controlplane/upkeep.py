"""What the server does to jobs by itself: writes beats down, ends leases, takes assignments back, lets time act.

All of it goes through one queue and is carried out in batches, so that a thousand beats that fall due together are one
commit. Nothing here is lost for good when a commit fails: whoever asked for it finds it due again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tenure.controlplane.handler import Handler, Step
from tenure.domain import commands as c
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import Job
from tenure.runtime.logs import get_logger
from tenure.store.store import CommitOutcomeUnknown, StoreError

log = get_logger("upkeep")

ACTOR = "server"
BATCH = 512


class Upkeep:
    """Commands of the server itself.

    `on_done` is told of every command that was carried out and the job after it; `on_failed` of every one that was not
    for want of a working store; `on_refused` of every one that the fold has refused.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._steps: list[Step] = []
        self._filled = asyncio.Event()
        self._batch = asyncio.Event()
        self.on_done: Callable[[c.Command, Job], None] = lambda command, job: None
        self.on_failed: Callable[[str, c.Command], None] = lambda job_id, command: None
        self.on_refused: Callable[[c.Command], None] = lambda command: None

    def add(self, job_id: str, command: c.Command) -> None:
        """Have a command carried out soon. At most one of a kind waits for a job, as long as callers ask only once."""
        self._steps.append(Step(job_id=job_id, command=command))
        self._filled.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once that is so; it is looked at again whenever a batch has been carried out, or was not for want of
        a working store."""
        while not condition():
            await self._batch.wait()

    async def run(self) -> None:
        """Carry out what comes, for ever.

        Raises:
            CommitOutcomeUnknown: the process is to end.
        """
        while True:
            await self._filled.wait()
            steps, self._steps = self._steps[:BATCH], self._steps[BATCH:]
            if not self._steps:
                self._filled.clear()
            await self._carry_out(steps)
            self._batch.set()
            self._batch = asyncio.Event()

    async def _carry_out(self, steps: list[Step]) -> None:
        try:
            executed = await self._handler.execute(steps, actor=ACTOR, partial=True)
        except CommitOutcomeUnknown:
            raise
        except (StoreError, Refused) as error:
            log.warning("upkeep_postponed", commands=len(steps), error=type(error).__name__)
            for step in steps:
                self.on_failed(step.job_id, step.command)
            return
        for step, outcome in zip(steps, executed.jobs, strict=True):
            if isinstance(outcome, Job):
                self.on_done(step.command, outcome)
                continue
            self.on_refused(step.command)
            if outcome.reason not in (Reason.LEASE_LOST, Reason.JOB_NOT_FOUND, Reason.OUTCOME_CONFLICT):
                log.warning("upkeep_refused", job_id=step.job_id, reason=outcome.reason.value)
