"""Make docs/state-machine.md from the transition table: `python docs/generate_state_machine.py`.

What may happen, and what comes of it, is read from `tenure.domain.states`. Only who does it and by which rule is
written here; a test plays every line of `WAYS` through `decide`, and another compares the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tenure.domain import events as e
from tenure.domain.states import OUTCOMES, TRANSITIONS, Phase, shown

PAGE = Path(__file__).with_name("state-machine.md")

Q, A, R, S, F = Phase.QUEUED, Phase.ASSIGNED, Phase.RUNNING, Phase.STOPPING, Phase.FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One thing that can happen: the events of one commit, from any of some phases (None: there is no job yet)."""

    phases: tuple[Phase | None, ...]
    events: tuple[type[e.JobEvent], ...]
    outcome: e.Outcome | None = None
    who: str
    rule: str

    def after(self, phase: Phase | None) -> Phase:
        """The phase that the table leads to."""
        for event in self.events:
            phase = TRANSITIONS[phase, event]
        assert phase is not None
        return phase


MEANINGS = {
    Q: "no attempt holds a lease",
    A: "an attempt holds a lease; its input may be on its way",
    R: "the command has been started",
    S: "cancelled with a grace period; the attempt may finish its last sync",
    F: "never changes again",
}

WAYS = (
    Way(
        phases=(None,),
        events=(e.JobCreated,),
        who="user",
        rule="The specification is valid and no forbidden duplicate.",
    ),
    Way(
        phases=(Q,),
        events=(e.JobAssigned,),
        who="server",
        rule="To a worker of the queue with a free slot that fits, is not banned from the job and not passed over; not"
        " before the retry's wait is over. Attempt = last + 1; the lease is two heartbeat intervals long.",
    ),
    Way(
        phases=(A,),
        events=(e.AssignmentDeclined,),
        who="worker, server",
        rule="Rejected, not accepted in time, or the worker does not know of it. Counts nothing and is no update; for"
        " this job the worker is passed over for 1 s, then 2 s, 4 s … up to 60 s.",
    ),
    Way(
        phases=(A,),
        events=(e.JobStarted,),
        who="lease holder",
        rule="Every `before` rule is complete. The first start of a job whose allocation counts from its start sets the"
        " deadline.",
    ),
    Way(
        phases=(A, R, S),
        events=(e.JobHeartbeat,),
        who="lease holder",
        rule="The first beat of an attempt, then one at most every 60 s (or heartbeat interval, if longer), and one at"
        " its end; counts are cumulative.",
    ),
    Way(
        phases=(Q, A, R),
        events=(e.JobExtended,),
        who="user",
        rule="Above 0; the job has an allocation, its product supports it, and the total stays within the queue's"
        " maximum. A delta: extensions add up.",
    ),
    Way(
        phases=(A, R),
        events=(e.AttemptFailed, e.JobRequeued),
        who="lease holder",
        rule="A failure that is not the last one allowed. The worker is banned from the job for 10 min; the retry waits"
        " for the backoff.",
    ),
    Way(
        phases=(A, R),
        events=(e.AttemptFailed, e.JobTerminated),
        outcome=e.Outcome.FAILED,
        who="lease holder",
        rule="The failure that reaches `max_failures`.",
    ),
    Way(
        phases=(A, R),
        events=(e.AttemptReleased, e.JobRequeued),
        who="lease holder",
        rule="Drain, preemption notice, object store out of reach: an interruption, never a failure.",
    ),
    Way(
        phases=(A, R),
        events=(e.LeaseExpired, e.JobRequeued),
        who="server",
        rule="Not heard of for a lease length: an interruption, never a failure.",
    ),
    Way(
        phases=(A, R),
        events=(e.LeaseExpired, e.JobTerminated),
        outcome=e.Outcome.LOST,
        who="server",
        rule="The fifth lease in a row that expired within 10 min of its start, on five workers: the job may be what"
        " takes them down. A lease that lasted longer, a failure or a release breaks the row; leases lost together with"
        " many others neither count nor break it. 0 switches it off.",
    ),
    Way(
        phases=(R,),
        events=(e.JobTerminated,),
        outcome=e.Outcome.COMPLETED,
        who="lease holder",
        rule="Exit code 0 and every `during` and `after` upload acknowledged by the object store.",
    ),
    Way(
        phases=(Q, A, R),
        events=(e.JobTerminated,),
        outcome=e.Outcome.CANCELLED,
        who="user",
        rule="No grace asked for, or the command does not run: at once. The lease is over.",
    ),
    Way(
        phases=(R,),
        events=(e.CancelRequested,),
        who="user",
        rule="A grace period is asked for; it never goes beyond the deadline. No extension from here on.",
    ),
    Way(
        phases=(S,),
        events=(e.AttemptFailed, e.JobTerminated),
        outcome=e.Outcome.CANCELLED,
        who="lease holder",
        rule="However the attempt ends, the job was cancelled.",
    ),
    Way(
        phases=(S,),
        events=(e.AttemptReleased, e.JobTerminated),
        outcome=e.Outcome.CANCELLED,
        who="lease holder",
        rule="Likewise.",
    ),
    Way(
        phases=(S,),
        events=(e.LeaseExpired, e.JobTerminated),
        outcome=e.Outcome.CANCELLED,
        who="server",
        rule="Likewise.",
    ),
    Way(
        phases=(S,),
        events=(e.JobTerminated,),
        outcome=e.Outcome.CANCELLED,
        who="lease holder, user, server",
        rule="Exit code 0, a second cancellation, or the grace is over.",
    ),
    Way(
        phases=(Q, A, R),
        events=(e.JobTerminated,),
        outcome=e.Outcome.EXPIRED,
        who="server",
        rule="The deadline has come. The event's time is the deadline, however late it was noticed; a command that"
        " finds the deadline passed meets a job that has expired.",
    ),
    Way(
        phases=(Q, A, R, S),
        events=(e.JobTerminated,),
        outcome=e.Outcome.SYSTEM,
        who="operator",
        rule="With a reason.",
    ),
)


PAGE_TEXT = """\
# The life of a job

This page is made from the transition table in `services/tenure/domain/states.py` by `make generate`; do not edit it.
Everything that is not in the table is refused. [events.md](events.md) says what each event carries.

## Phases

The domain decides on a *phase*; users are shown a *state* derived from it.

{phases}

```mermaid
{diagram}
```

Events that leave the phase as it is are not drawn. The end of an attempt (`AttemptFailed`, `AttemptReleased`,
`LeaseExpired`) is one of them: the `JobRequeued` or `JobTerminated` that moves the phase follows it in the same commit.

## What can happen

{ways}

A *lease holder* is the worker whose message names the lease of the live attempt. With any other lease it changes
nothing and is told so; a repeat of what was accepted before is acknowledged and changes nothing either. Terminating a
job that has ended is no error and writes nothing.

## The whole table

The phase after each event; empty: refused.

{matrix}

## Outcomes

What a job may end with, phase by phase; the last column is the state shown.

{outcomes}
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = {"phases": _phases(), "diagram": _diagram(), "ways": _ways(), "matrix": _matrix(), "outcomes": _outcomes()}
    return PAGE_TEXT.format(**{name: "\n".join(lines) for name, lines in parts.items()})


def _phases() -> Iterator[str]:
    rows = ((f"`{phase.name}`", _states(phase), MEANINGS[phase]) for phase in Phase)
    return _table(("Phase", "State shown", "Meaning"), rows)


def _states(phase: Phase) -> str:
    outcomes = list(e.Outcome) if phase is F else [None]
    return ", ".join(dict.fromkeys(f"`{shown(phase, outcome)}`" for outcome in outcomes))


def _diagram() -> Iterator[str]:
    yield "stateDiagram-v2"
    arrows: dict[tuple[Phase | None, Phase], list[str]] = {}
    for (phase, event), after in TRANSITIONS.items():
        if phase is not after:
            arrows.setdefault((phase, after), []).append(event.__name__)
    for (phase, after), events in arrows.items():
        yield f"    {phase.name if phase else '[*]'} --> {after.name}: {', '.join(events)}"
    yield f"    {F.name} --> [*]"


def _ways() -> Iterator[str]:
    def rows() -> Iterator[tuple[str, ...]]:
        for way in WAYS:
            after = ", ".join(dict.fromkeys(f"`{way.after(phase).name}`" for phase in way.phases))
            if len({way.after(phase) for phase in way.phases}) > 1:
                after = "the same"
            if way.outcome is not None:
                after += f" {shown(F, way.outcome)}/{way.outcome.name}"
            yield (
                ", ".join(f"`{phase.name}`" if phase else "–" for phase in way.phases),
                " + ".join(f"`{event.__name__}`" for event in way.events),
                after,
                way.who,
                way.rule,
            )

    return _table(("Phase", "Events", "Next", "Who", "Rule"), rows())


def _matrix() -> Iterator[str]:
    phases: tuple[Phase | None, ...] = (None, *Phase)
    rows = (
        (
            f"`{event.__name__}`",
            *(f"`{after.name}`" if (after := TRANSITIONS.get((phase, event))) else "" for phase in phases),
        )
        for event in get_args(e.JobEvent)
    )
    return _table(("Event", *(f"`{phase.name}`" if phase else "no job yet" for phase in phases)), rows)


def _outcomes() -> Iterator[str]:
    rows = (
        (
            f"`{outcome.name}`",
            *("yes" if outcome in OUTCOMES[phase] else "" for phase in OUTCOMES),
            f"`{shown(F, outcome)}`",
        )
        for outcome in e.Outcome
    )
    return _table(("Outcome", *(f"`{phase.name}`" for phase in OUTCOMES), "State"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
