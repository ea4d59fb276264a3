"""The life of one job, told command by command: what the tests of the domain speak with.

Times are µs of wall time; the helpers count from `T0`, the instant at which the first example job was created.
"""

from __future__ import annotations

import pytest

from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.domain.decide import Dated, decide
from tenure.domain.errors import Refused
from tenure.domain.job import Job, create, evolve
from tenure.domain.states import Phase

MS = 1_000
S = 1_000_000
MINUTE = 60 * S
HOUR = 3600 * S

T0 = 1633329776235 * MS

# The terms of the two example jobs: five hours from creation, and no limit at all.
WEB = e.Terms(time_allocation_us=5 * HOUR, basis=e.Basis.CREATED)
BATCH = e.Terms(heartbeat_interval_us=30 * S, max_failures=3)


def created(terms: e.Terms = WEB) -> e.JobCreated:
    """A JobCreated with these terms."""
    return e.JobCreated(
        specification=b"specification",
        specification_digest=b"digest",
        allow_duplicate=False,
        created_by="user",
        project="",
        queue="default",
        priority=0,
        terms=terms,
        command="acme",
        arguments=("--serve",),
    )


class Life:
    """A job that commands are given to; `log` is its stream so far."""

    def __init__(self, terms: e.Terms = WEB, *, job_id: str = "62348", at: int = T0) -> None:
        event = created(terms)
        self.job: Job = create(job_id, event, at)
        self.log: list[Dated] = [(at, event)]
        self.now = at

    @property
    def lease(self) -> str:
        """The id of the live lease, or else of the latest."""
        return f"lease-{self.job.attempt}"

    def do(self, command: c.Command, at: int | None = None, beat: c.Beat | None = None) -> list[Dated]:
        """Carry out a command, by default at the instant of the last one; the events that it added."""
        self.now = self.now if at is None else at
        dated = decide(self.job, command, self.now, beat)
        self.append(dated)
        return dated

    def append(self, dated: list[Dated]) -> None:
        """Add events to the stream."""
        for time_us, event in dated:
            self.job = evolve(self.job, event, time_us)
        self.log += dated

    def refusal(self, command: c.Command, at: int | None = None) -> Refused:
        """What is said to a command that has to be refused."""
        before = self.job
        with pytest.raises(Refused) as refused:
            self.do(command, at)
        assert self.job is before
        return refused.value

    # --- the usual steps ---

    def assign(self, worker: str = "A", at: int | None = None) -> list[Dated]:
        """Give the job to a worker; the lease is named for the attempt."""
        return self.do(c.Assign(lease_id=f"lease-{self.job.attempt + 1}", worker_id=worker), at)

    def start(self, worker: str = "A", at: int | None = None) -> list[Dated]:
        """Give the job to a worker and have it start the command."""
        self.assign(worker, at)
        return self.do(c.Start(lease_id=self.lease), at)

    def fail(self, at: int | None = None, **details: int | bool | str | e.Stage) -> list[Dated]:
        """Let the live attempt fail, by default with exit code 1."""
        how = {"stage": e.Stage.RUN, "exit_code": 1, **details}
        return self.do(c.Fail(lease_id=self.lease, **how), at)  # type: ignore[arg-type]

    def lose(self, at: int | None = None, *, silence: int = 60 * S, mass: bool = False) -> list[Dated]:
        """Let the live lease expire."""
        return self.do(c.ExpireLease(lease_id=self.lease, silence_us=silence, mass=mass), at)


def in_phase(phase: Phase, terms: e.Terms = WEB) -> Life:
    """A job in that phase, on worker A where it is on one; a final one has completed."""
    life = Life(terms)
    if phase is Phase.ASSIGNED:
        life.assign()
    elif phase is not Phase.QUEUED:
        life.start()
    if phase is Phase.STOPPING:
        life.do(c.Terminate(reason="enough", grace_us=10 * S))
    elif phase is Phase.FINAL:
        life.do(c.Succeed(lease_id=life.lease))
    assert life.job.phase is phase
    return life


def kinds(dated: list[Dated]) -> list[type[e.JobEvent]]:
    """The types of the events."""
    return [type(event) for _, event in dated]
