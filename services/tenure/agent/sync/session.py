"""The sync of one attempt, as the attempt's steps use it: before, during, after.

One `AttemptSync` lives as long as one attempt. It owns the folders of the rules, what is known to be stored, and the
task that uploads while the command runs; `close` ends all of it. Nothing here decides what an error means for the job:
`SyncRefused` is a failure of the attempt, `SyncUnreachable` an interruption, `FencedOff` the end of its tenure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tenure.agent.sync import beneath, folders
from tenure.agent.sync.apply import Copier
from tenure.agent.sync.beneath import Place
from tenure.agent.sync.counters import Counters
from tenure.agent.sync.download import Loader
from tenure.agent.sync.gate import FencedOff, WriteGate
from tenure.agent.sync.objects import ObjectStore
from tenure.agent.sync.offload import Offload
from tenure.agent.sync.plan import Manifest
from tenure.agent.sync.retry import Retry, SyncRefused, SyncUnreachable, refusing
from tenure.agent.sync.rules import Rule, parse
from tenure.agent.sync.watch import During
from tenure.agent.sync.watcher import WatcherFactory
from tenure.agent.waiting import settle
from tenure.runtime.clock import Clock
from tenure.v1 import job_pb2

__all__ = ["AttemptSync", "Counters", "FencedOff", "Place", "SyncRefused", "SyncUnreachable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    before: tuple[Rule, ...]
    during: tuple[Rule, ...]
    after: tuple[Rule, ...]


class AttemptSync:
    """Copies what an attempt's sync rules promise.

    Args:
        store: The object store; shared by all attempts of the agent.
        rules: The job's rules.
        compression: Whether uploads are stored gzipped as `<key>.gz`.
        resolve_path: Where a rule's `local_path` lies; `tenure.agent.sync.folders.resolve` with its roots bound. Raises
            FolderRefused for a path that the worker does not allow.
        owner: Who holds absolute folders, for the marker file: any one line, such as the lease id.
        gate: Asked before every write to the store.
        clock: Measures quiet periods, backoff and budgets.
        counters: Kept up to date for the heartbeats; read it at any time.
        random: Jitter of the backoff.
        offload: Runs blocking file work in threads.
        watcher: Makes the watcher of the `during` folders.
        retry_budget_s: How long one request to a store that cannot be reached is repeated.
        deadline_ns: Instant (`Clock.monotonic_ns`) after which nothing is repeated any more, asked each time because
            deadlines move; None: no deadline.
        spool: Folder for copies of files on their way, as large as the largest file where `compression` is on; None:
            the system's.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        rules: job_pb2.Sync,
        compression: bool,
        resolve_path: Callable[[str], Place],
        owner: str,
        gate: WriteGate,
        clock: Clock,
        counters: Counters,
        random: Random,
        offload: Offload,
        watcher: WatcherFactory,
        retry_budget_s: float = 3600.0,
        deadline_ns: Callable[[], int | None] = lambda: None,
        spool: Path | None = None,
    ) -> None:
        retry = Retry(clock=clock, random=random, budget_s=retry_budget_s, deadline_ns=deadline_ns, counters=counters)
        manifest: Manifest = {}
        self._loader = Loader(
            store=store,
            retry=retry,
            counters=counters,
            offload=offload,
            manifest=manifest,
            compression=compression,
            spool=spool,
        )
        self._copier = Copier(
            store=store,
            gate=gate,
            retry=retry,
            counters=counters,
            offload=offload,
            clock=clock,
            manifest=manifest,
            compression=compression,
            spool=spool,
        )
        self._messages = rules
        self._resolve_path = resolve_path
        self._owner = owner
        self._clock = clock
        self._counters = counters
        self._offload = offload
        self._watcher = watcher
        self._parsed: _Rules | None = None
        self._owned: list[Place] = []
        self._during: During | None = None
        self._during_task: asyncio.Task[None] | None = None
        self._finishing = False

    async def before(self) -> None:
        """Make the folders of all rules ready, then apply the `before` rules in order. All is there, or it raises.

        Raises:
            SyncRefused: A folder or pattern is refused, a key is hostile, the store refuses an object. Fails the
                attempt.
            SyncUnreachable: The store could not be reached within the budget. Interrupts the attempt.
        """
        rules = self._rules()
        await self._prepare_folders(rules)
        for rule in rules.before:
            await self._loader.load(rule)

    async def start_during(self) -> None:
        """Start uploading what changes under the `during` rules. Returns once the folders are watched.

        Call it before the command starts or after; files that are already there are uploaded too. Harmless without
        `during` rules.

        Raises:
            SyncRefused: A folder cannot be used.
        """
        rules = self._rules()
        if not rules.during or self._during_task is not None:
            return
        self._during = During(
            rules=rules.during,
            copier=self._copier,
            counters=self._counters,
            offload=self._offload,
            watcher=self._watcher,
            clock=self._clock,
        )
        try:
            await self._during.watch()
        except BaseException:
            await self._during.close()
            raise
        self._during_task = asyncio.create_task(self._during.run(), name="tenure-sync-during")

    async def wait_failed(self) -> Exception:
        """Wait until the `during` uploads have given up for good; return why.

        Never returns while they go on, nor after `finish_during` has begun. The answer is a SyncRefused,
        SyncUnreachable or FencedOff (another exception is a defect of this program); the attempt then stops the
        command.
        """
        task = self._during_task
        if task is not None and not self._finishing:
            await asyncio.wait({task})
            if not self._finishing and not task.cancelled():
                error = task.exception()
                if isinstance(error, Exception):
                    return error
        await asyncio.Event().wait()
        raise AssertionError  # that event is never set

    async def finish_during(self) -> None:
        """Stop watching and make the last pass: returns only when every local file equals its object.

        Call it when the command has ended, however it ended; bound it where a grace period runs. May be called without
        `start_during`. Where the uploads had given up before, it raises why: at once, or, where something was refused,
        after the last pass, because most files may be as good as ever.

        Raises:
            SyncRefused: A file is refused, or the files do not stop changing.
            SyncUnreachable: The store could not be reached within the budget.
            FencedOff: The attempt may never write again.
        """
        self._finishing = True
        refused: SyncRefused | None = None
        if self._during is not None and self._during_task is not None:
            self._during.stop()
            await asyncio.wait({self._during_task})
            if not self._during_task.cancelled():
                try:
                    self._during_task.result()
                except SyncRefused as error:
                    refused = error
        self._copier.command_ended()
        try:
            await self._copier.settle(self._rules().during)
        except (SyncRefused, SyncUnreachable):
            if refused is None:
                raise
        if refused is not None:
            raise refused

    async def after(self) -> None:
        """Upload everything under the `after` rules. Returns only when every local file equals its object.

        Raises:
            SyncRefused, SyncUnreachable, FencedOff: As for `finish_during`.
        """
        self._copier.command_ended()
        await self._copier.settle(self._rules().after)

    async def close(self) -> None:
        """End everything that still runs; waits for requests in flight, which are bounded. May be called twice."""
        self._finishing = True
        if self._during_task is not None:
            await settle(self._during_task)

    async def clean(self) -> None:
        """Empty the absolute folders that carry this worker's marker, and take the marker away. After `close`.

        Never touches a remote object. Relative folders go with the attempt's private directory.

        Raises:
            SyncRefused: A folder could not be emptied.
        """
        with refusing():
            while self._owned:
                await self._offload.run(folders.clean, self._owned[-1])
                self._owned.pop()

    def _rules(self) -> _Rules:
        if self._parsed is None:
            with refusing():
                self._parsed = _Rules(
                    before=parse(self._messages.before, self._resolve_path),
                    during=parse(self._messages.during, self._resolve_path),
                    after=parse(self._messages.after, self._resolve_path),
                )
        return self._parsed

    async def _prepare_folders(self, rules: _Rules) -> None:
        every = {rule.place: rule.absolute for rule in (*rules.before, *rules.during, *rules.after)}
        # The outermost first: what lies in a folder that was just emptied is ours already.
        for place, absolute in sorted(every.items(), key=lambda each: len(each[0].path.parts)):
            with refusing():
                if absolute and not any(place.path.is_relative_to(owned.path) for owned in self._owned):
                    self._owned.append(place)
                    await self._offload.run(folders.prepare, place, self._owner)
                else:
                    await self._offload.run(beneath.make, place)
