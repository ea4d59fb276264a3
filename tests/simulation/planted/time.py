"""Bugs of time: deadlines, extensions, waits, counts and bans."""

from __future__ import annotations

from tests.simulation.planted.planting import Edit, Planted

_DECIDE = "tenure.domain.decide:"
_TIMERS = "tenure.controlplane.timers:Timers."
_SESSIONS = "tenure.controlplane.sessions:Sessions."

BUGS = (
    Planted(
        name="timers-not-rebuilt",
        sentence="After a restart the server does not know which jobs time will end.",
        caught_by=frozenset({"deadlines-are-kept", "ends-or-is-explained"}),
        seeds=500,
        edits=(
            Edit(
                where=_TIMERS + "load",
                swaps=(("page = await self._store.due(until_us, after, PAGE)", "page: list[tuple[int, str]] = []"),),
            ),
        ),
    ),
    Planted(
        name="expiry-not-lazy",
        sentence="A command that finds the deadline passed is carried out when the sweep has not come by yet.",
        caught_by=frozenset({"nothing-after-the-deadline"}),
        seeds=500,
        edits=(
            Edit(
                where=_DECIDE + "decide",
                swaps=(
                    (
                        "dated = overdue(job, now_us, beat)",
                        "dated = overdue(job, now_us, beat) if isinstance(command, c.Tick) else []",
                    ),
                ),
                also=("tenure.controlplane.handler:decide",),
            ),
            Edit(
                where="tenure.controlplane.handler:Handler._decide_all",
                swaps=(
                    (
                        "if late := overdue(job, max(now_us, job.last_us), beat):",
                        "if isinstance(step.command, c.Tick) and "
                        "(late := overdue(job, max(now_us, job.last_us), beat)):",
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="expired-when-noticed",
        sentence="A job expires at the time of the sweep that notices it, not at its deadline.",
        caught_by=frozenset({"expires-at-the-deadline"}),
        seeds=200,
        edits=(
            Edit(
                where=_DECIDE + "overdue",
                swaps=(("at_us = max(due, job.last_us)", "at_us = now_us"),),
                also=("tenure.controlplane.handler:overdue",),
            ),
        ),
    ),
    Planted(
        name="extension-stored-absolute",
        sentence="An extension replaces the ones before it instead of adding to them.",
        caught_by=frozenset({"extensions-are-kept"}),
        seeds=50,
        edits=(
            Edit(
                where=_DECIDE + "_extend",
                swaps=(
                    (
                        "e.JobExtended(requested_us=command.requested_us)",
                        "e.JobExtended(requested_us=max(1, command.requested_us - job.granted_us))",
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="deadline-not-resent-after-reconnect",
        sentence="Welcome does not say when the time of a job ends that goes on.",
        caught_by=frozenset({"deadlines-are-told"}),
        seeds=200,
        edits=(
            Edit(
                where=_SESSIONS + "_welcome",
                swaps=(("if live.expires_us is not None:", "if live.expires_us is not None and False:"),),
            ),
        ),
    ),
    Planted(
        name="cancel-not-resent-after-reconnect",
        sentence="A worker that was away when its job was cancelled is not told when it comes back.",
        caught_by=frozenset({"cancels-are-told"}),
        seeds=1000,
        edits=(Edit(where=_SESSIONS + "remind", swaps=(("if live.stopping:", "if live.stopping and False:"),)),),
    ),
    Planted(
        name="heartbeat-count-not-cumulative",
        sentence="Beats are counted by the server process that hears them: a restart loses those before.",
        caught_by=frozenset({"beats-add-up"}),
        seeds=200,
        edits=(
            Edit(
                where="tenure.controlplane.answers:_beat",
                swaps=(
                    (
                        "count=max(beat.count, known.count if known is not None else 0)",
                        "count=(known.count if known is not None else 0) + 1",
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="last-beats-lost",
        sentence="Beats that were not written down yet are lost when the attempt ends.",
        caught_by=frozenset({"beats-add-up"}),
        seeds=50,
        edits=(
            Edit(
                where=_DECIDE + "decide",
                swaps=(("and _ends_attempt(events)", "and _ends_attempt([])"),),
                also=("tenure.controlplane.handler:decide",),
            ),
        ),
    ),
    Planted(
        name="ban-forgotten",
        sentence="A worker on which a job has failed is given it again at once.",
        caught_by=frozenset({"bans-are-kept"}),
        seeds=200,
        edits=(
            Edit(
                where="tenure.domain.job:Job.avoids",
                swaps=(("now_us < one.until_us", "now_us < one.until_us and one.declines"),),
            ),
        ),
    ),
    Planted(
        name="interruptions-count-as-failures",
        sentence="Lost and released attempts count towards the failures that a job may have.",
        caught_by=frozenset({"failures-are-counted"}),
        seeds=500,
        edits=(
            Edit(
                where=_DECIDE + "_fail",
                swaps=(("job.num_failures + 1", "job.num_failures + job.num_interruptions + 1"),),
            ),
        ),
    ),
    Planted(
        name="wait-never-ends",
        sentence="A job that waits before its next attempt is not looked at again when the wait is over.",
        caught_by=frozenset({"ends-or-is-explained"}),
        seeds=500,
        edits=(Edit(where=_TIMERS + "_done", swaps=(("if job.phase is Phase.QUEUED:", "if False:"),)),),
    ),
)
