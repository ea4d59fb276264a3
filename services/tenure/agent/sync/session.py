"""The sync of one attempt, as the attempt's steps use it: before, during, after.

One `AttemptSync` lives as long as one attempt. It owns the folders of the rules, what is known to be stored, and the
task that uploads while the command runs; `close` ends all of it. Nothing here decides what an error means for the job:
`SyncRefused` is a failure of the attempt, `SyncUnreachable` an interruption, `FencedOff` the end of its tenure.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tenure.agent.sync.apply import Counters
from tenure.agent.sync.beneath import Place
from tenure.agent.sync.gate import WriteGate
from tenure.agent.sync.objects import ObjectStore
from tenure.agent.sync.offload import Offload
from tenure.agent.sync.watcher import WatcherFactory
from tenure.runtime.clock import Clock
from tenure.v1 import job_pb2


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
    ) -> None: ...

    async def before(self) -> None:
        """Make the folders of all rules ready, then apply the `before` rules in order. All is there, or it raises.

        Raises:
            SyncRefused: A folder or pattern is refused, a key is hostile, the store refuses an object. Fails the
                attempt.
            SyncUnreachable: The store could not be reached within the budget. Interrupts the attempt.
        """

    async def start_during(self) -> None:
        """Start uploading what changes under the `during` rules. Returns once the folders are watched.

        Call it before the command starts or after; files that are already there are uploaded too. Harmless without
        `during` rules.
        """

    async def wait_failed(self) -> Exception:
        """Wait until the `during` uploads have given up for good; return why.

        Never returns while they go on, nor after `finish_during` has begun. The answer is a SyncRefused,
        SyncUnreachable or FencedOff; the attempt then stops the command.
        """

    async def finish_during(self) -> None:
        """Stop watching and make the last pass: returns only when every local file equals its object.

        Call it when the command has ended, however it ended; bound it with `asyncio.timeout` where a grace period
        runs. May be called without `start_during`, and again after it raised.

        Raises:
            SyncRefused: The store refuses a file, or the files do not stop changing.
            SyncUnreachable: The store could not be reached within the budget.
            FencedOff: The attempt may never write again.
        """

    async def after(self) -> None:
        """Upload everything under the `after` rules. Returns only when every local file equals its object.

        Raises:
            SyncRefused, SyncUnreachable, FencedOff: As for `finish_during`.
        """

    async def close(self) -> None:
        """End everything that still runs; waits for requests in flight, which are bounded. May be called twice."""

    async def clean(self) -> None:
        """Empty the absolute folders that carry this worker's marker, and take the marker away. After `close`.

        Never touches a remote object. Relative folders go with the attempt's private directory.
        """
