"""Bugs of leases: who holds one, by which clock it runs, and what happens when it is over."""

from __future__ import annotations

from typing import Any

from tenure.domain import commands as c
from tests.simulation.planted.planting import Edit, Planted

_LEASES = "tenure.controlplane.leases:Leases."
_SESSIONS = "tenure.controlplane.sessions:Sessions."
_TIMERS = "tenure.controlplane.timers:Timers."
_ANSWERS = "tenure.controlplane.answers:"
_DECIDE = "tenure.domain.decide:"


def _machine_ns(clock: Any) -> int:
    """The machine's own wall clock, behind the clock of the process that smooths it."""
    return int(clock._time_ns())


class _WallForMonotonic:
    """A clock whose monotonic time is the machine's wall time."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def monotonic_ns(self) -> int:
        return _machine_ns(self._clock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)


def _give_up_all(sessions: Any, session: Any) -> None:
    """End every lease of a worker whose stream has ended."""
    for lease_id in list(session.worker.busy):
        live = sessions._leases.held_by(session.worker, lease_id)
        if live is not None and live.accepted:
            sessions._upkeep.add(live.job_id, c.ExpireLease(lease_id=lease_id, silence_us=0))


BUGS = (
    Planted(
        name="no-lease-check",
        sentence="What a worker says of an attempt is taken for the live attempt, whatever lease it names.",
        caught_by=frozenset({"only-the-holder-counts", "reports-are-answered-rightly", "no-early-expiry"}),
        seeds=2000,
        edits=(
            Edit(
                where=_DECIDE + "_worker",
                swaps=(("if lease is None or lease.lease_id != command.lease_id:", "if lease is None:"),),
            ),
        ),
    ),
    Planted(
        name="lease-by-wall-clock",
        sentence="Leases run on the wall clock, the sweep over them on the other: a correction of the clock ends them.",
        caught_by=frozenset({"no-early-expiry", "grace-after-restart"}),
        seeds=200,
        edits=(
            Edit(
                where=_LEASES + "__init__",
                swaps=(("self._clock = clock", "self._clock = by_wall(clock)"),),
                names={"by_wall": _WallForMonotonic},
            ),
            Edit(
                where=_LEASES + "sweep",
                swaps=(("if any(live.length_ns < 4 * (now_ns - live.ends_ns) for live in due):", "if False:"),),
            ),
            Edit(
                where=_TIMERS + "__init__",
                swaps=(
                    (
                        "leases.on_earlier = self._earlier",
                        "leases.on_earlier = lambda due_ns: self._earlier("
                        "clock.monotonic_ns() + due_ns - machine_ns(clock))",
                    ),
                ),
                names={"machine_ns": _machine_ns},
            ),
            Edit(
                where=_TIMERS + "_next_ns",
                swaps=(
                    (
                        "ahead.append(lease_ns)",
                        "ahead.append(self._clock.monotonic_ns() + lease_ns - machine_ns(self._clock))",
                    ),
                ),
                names={"machine_ns": _machine_ns},
            ),
            Edit(
                where=_TIMERS + "_fire",
                swaps=(
                    (
                        "silence_us = (now_ns - live.heard_ns) // 1000",
                        "silence_us = (machine_ns(self._clock) - live.heard_ns) // 1000",
                    ),
                ),
                names={"machine_ns": _machine_ns},
            ),
            Edit(
                where=_SESSIONS + "_give_up_unnamed",
                swaps=(
                    (
                        "(self._clock.monotonic_ns() - live.heard_ns) // 1000",
                        "(machine_ns(self._clock) - live.heard_ns) // 1000",
                    ),
                ),
                names={"machine_ns": _machine_ns},
            ),
            Edit(
                where=_ANSWERS + "Answers._accept",
                swaps=(("now_ns = self._clock.monotonic_ns()", "now_ns = machine_ns(self._clock)"),),
                names={"machine_ns": _machine_ns},
            ),
        ),
    ),
    Planted(
        name="no-grace-after-restart",
        sentence="After a restart a lease lasts its length, however short, though the silence was the server's.",
        caught_by=frozenset({"grace-after-restart"}),
        seeds=200,
        edits=(
            Edit(
                where=_LEASES + "adopt",
                swaps=(("max(live.length_ns, START_GRACE_NS)", "live.length_ns"),),
            ),
        ),
    ),
    Planted(
        name="no-mass-expiry-brake",
        sentence="Leases that run out in masses are ended at once, as if it could not be the server's own fault.",
        caught_by=frozenset({"masses-are-held"}),
        seeds=300,
        edits=(
            Edit(
                where=_LEASES + "_brake",
                swaps=(("if len(had_more_time) == len(silent):", "if True:"),),
            ),
        ),
    ),
    Planted(
        name="no-late-sweep-brake",
        sentence="A sweep that comes late, because the server stood still, ends leases all the same.",
        caught_by=frozenset({"late-sweeps-are-held"}),
        seeds=200,
        edits=(
            Edit(
                where=_LEASES + "sweep",
                swaps=(("if any(live.length_ns < 4 * (now_ns - live.ends_ns) for live in due):", "if False:"),),
            ),
        ),
    ),
    Planted(
        name="end-of-stream-is-an-outcome",
        sentence="The end of a worker's stream without Goodbye ends its leases.",
        caught_by=frozenset({"no-early-expiry", "grace-after-restart"}),
        seeds=50,
        edits=(
            Edit(
                where=_SESSIONS + "close",
                swaps=(
                    (
                        "        self._dispatcher.left(worker)\n",
                        "        self._dispatcher.left(worker)\n        give_up_all(self, session)\n",
                    ),
                ),
                names={"give_up_all": _give_up_all},
            ),
        ),
    ),
    Planted(
        name="superseded-session-may-speak",
        sentence="An older stream of a worker goes on beside the newer one.",
        caught_by=frozenset({"one-stream-a-worker"}),
        seeds=50,
        edits=(Edit(where=_SESSIONS + "open", swaps=(("if older is not None:", "if older is not None and False:"),)),),
    ),
    Planted(
        name="leases-not-adopted",
        sentence="After a restart the leases of the log are not known: nobody times them.",
        caught_by=frozenset({"ends-or-is-explained", "state-is-the-fold", "live-leases-are-kept", "no-orphans"}),
        seeds=50,
        edits=(
            Edit(
                where="tenure.controlplane.worker_service:WorkerService._load",
                swaps=(
                    (
                        "if job.lease is not None and self._leases.of_job(job.id) is None:",
                        "if job.lease is not None and False:",
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="unaccepted-never-taken-back",
        sentence="An assignment that its worker never answered stays with it for ever.",
        caught_by=frozenset({"ends-or-is-explained", "no-orphans", "lost-is-noticed"}),
        seeds=2000,
        edits=(
            Edit(
                where=_LEASES + "add",
                swaps=(("accept_within_us(lease.length_us) * NS_A_US", "3600 * SECOND_NS"),),
            ),
        ),
    ),
    Planted(
        name="lost-lease-is-confirmed",
        sentence="An Accept of a lease that is over is answered with: held.",
        caught_by=frozenset({"held-means-held"}),
        seeds=50,
        edits=(
            Edit(
                where=_ANSWERS + "Answers._accept",
                swaps=(
                    (
                        "pb.AcceptAck.Item(lease_id=lease_id, state=pb.LEASE_STATE_LOST)",
                        "pb.AcceptAck.Item(lease_id=lease_id, state=pb.LEASE_STATE_HELD)",
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="lost-beat-is-confirmed",
        sentence="A beat for a lease that is over is answered with: held.",
        caught_by=frozenset({"held-means-held"}),
        seeds=200,
        edits=(
            Edit(
                where=_ANSWERS + "Answers._heartbeat",
                swaps=(
                    (
                        "pb.HeartbeatAck.Item(lease_id=beat.lease_id, state=pb.LEASE_STATE_LOST)",
                        "pb.HeartbeatAck.Item(lease_id=beat.lease_id, state=pb.LEASE_STATE_HELD)",
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="repeated-report-is-not-known",
        sentence="A repeat of a report that was accepted is answered with: the lease is over.",
        caught_by=frozenset({"reports-are-answered-rightly"}),
        seeds=200,
        edits=(
            Edit(
                where=_DECIDE + "check_repeat",
                swaps=(
                    (
                        "if by != expected:",
                        "if by == expected:\n        raise Refused(Reason.LEASE_LOST, 'the lease is over')\n"
                        "    if by != expected:",
                    ),
                ),
                also=("tenure.controlplane.reports:check_repeat",),
            ),
        ),
    ),
    Planted(
        name="slot-free-at-the-end-of-the-lease",
        sentence="A slot counts as free once its lease is over, though the attempt may still run.",
        caught_by=frozenset({"credit-is-kept"}),
        seeds=50,
        edits=(
            Edit(
                where=_SESSIONS + "_ended",
                swaps=(("if not slot.confirmed:", "if True:"),),
            ),
        ),
    ),
    Planted(
        name="credit-miscounted",
        sentence="A worker is given one job more than it has slots.",
        caught_by=frozenset({"credit-is-kept"}),
        seeds=50,
        edits=(
            Edit(
                where="tenure.controlplane.workers:Worker.available",
                swaps=(("len(self.busy) < self.slots", "len(self.busy) <= self.slots"),),
            ),
        ),
    ),
)
