"""What must hold of leases: when they may run out, when they must, and what is given out and counted meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tenure.domain import events as e
from tests.simulation.history import Committing
from tests.simulation.invariants_case import SECOND_NS, Case, Sign, sum_of
from tests.simulation.invariants_story import Tenure, value_at

GRACE_NS = 60 * SECOND_NS
# More leases than this, and more than this part of all, that run out within a second are held once.
MASS_COUNT, MASS_PART = 3, 0.3
# What the server may need to notice and write down, besides everything that is named.
SLACK_NS = 3 * SECOND_NS
# What decides and what is decided may share an instant.
TICK_NS = 1_000_000
# Clocks of the simulation are whole nanoseconds times a rate.
ROUNDING_NS = 1000


class Expiry:
    """One lease that expired, by the monotonic clock of the process that ended it.

    Attributes:
        adopted: an earlier process had given it out.
        in_grace: the restart had given it time, and its worker had said nothing of it since but in Hello: Welcome may
            be on its way to nobody. `heard`: what it said was answered, so that it has certainly counted.
        since_server_ns, silent_ns: the last sign of life that was answered, or when it was given out or taken over, and
            for how long it had been silent since then.
        spare_ns: for how long it was left after that silence, and the grace of a restart, had been long enough.
        late_ns: for how long after it had run out at the latest.
        ignored: the last sign of life of any kind.
        due_server_ns, due_by_ns: between these it ran out, unless it was held.
    """

    def __init__(self, case: Case, tenure: Tenure) -> None:
        self.tenure = tenure
        self.commit: Committing = case.commit_of(tenure.ended)
        self.boot = case.boots[self.commit.boot]
        granted = case.commit_of(tenure.granted)
        self.adopted = granted.boot != self.commit.boot
        self.length_ns = tenure.length_us * 1000
        if self.adopted:
            since = Sign(self.boot.started_ns, self.boot.number, self.boot.server_ns, None)
        else:
            since = Sign(granted.durable_ns, granted.boot, granted.server_ns, None)
        signs = [
            sign
            for sign in case.heard_of(tenure.lease_id)
            if sign.boot == self.commit.boot and sign.at_ns <= self.commit.durable_ns
        ]
        answered = [sign for sign in signs if sign.answered]
        self.since_server_ns = (answered or [since])[-1].server_ns
        self.silent_ns = self.commit.server_ns - self.since_server_ns
        # What came while its end was being written did not count any more.
        decided_ns = decided_at(case, tenure, self.commit)
        early = [sign for sign in signs if decided_ns is None or sign.at_ns < decided_ns - TICK_NS]
        self.ignored = (early or [since])[-1]
        self.heard = any(not sign.welcome for sign in answered)
        self.in_grace = self.adopted and not self.heard and all(sign.welcome for sign in early)
        grace_ns = self.boot.server_ns + max(self.length_ns, GRACE_NS)
        least_ns = grace_ns if self.in_grace else 0
        self.due_server_ns = max(self.ignored.server_ns + self.length_ns, least_ns)
        self.spare_ns = self.commit.server_ns - max(self.since_server_ns + self.length_ns, least_ns)
        most_ns = grace_ns if self.adopted and not self.heard else 0
        self.late_ns = self.commit.server_ns - max(self.ignored.server_ns + self.length_ns, most_ns)
        self._suspended = list(case.faults("server.suspend"))
        self.due_by_ns = self._due_by(early)

    def _due_by(self, signs: list[Sign]) -> int:
        """When it had run out at the latest, unless it was held: what has ended had run out before."""
        ends = [None if sign.counted_ns is None else sign.counted_ns + self.length_ns for sign in signs]
        if self.adopted and not self.heard and self.boot.serving_ns is not None:
            # A server takes over what the log says before it serves.
            ends.append(self.server_ns(self.boot.serving_ns) + max(self.length_ns, GRACE_NS))
        known = [at_ns for at_ns in ends if at_ns is not None]
        if not known or len(known) < len(ends):
            return self.commit.server_ns
        return min(max(known), self.commit.server_ns)

    def virtual_ns(self, server_ns: int) -> int:
        """When the server's clock showed that, before the expiry."""
        reached_ns = self.commit.durable_ns - round((self.commit.server_ns - server_ns) / self.boot.rate)
        # The clock of a suspended machine stands still.
        for span in reversed(self._suspended):
            if span.end_ns is not None and reached_ns < span.end_ns <= self.commit.durable_ns:
                reached_ns -= span.end_ns - span.begin_ns
        return reached_ns

    def server_ns(self, virtual_ns: int) -> int:
        """What the server's clock showed then, likewise."""
        spent_ns = self.commit.durable_ns - virtual_ns
        spent_ns -= sum_of(self._suspended, virtual_ns, self.commit.durable_ns)
        return self.commit.server_ns - round(spent_ns * self.boot.rate)


def _expiries(case: Case) -> list[Expiry]:
    """Leases that ran out; not those whose worker has come back as another process that does not know of them."""
    found = case.cache.get("expiries")
    if found is None:
        ended = (tenure for tenure in case.story.tenures.values() if isinstance(tenure.end, e.LeaseExpired))
        found = case.cache["expiries"] = [Expiry(case, one) for one in ended if not _given_up(case, one)]
    return found


def _given_up(case: Case, tenure: Tenure) -> bool:
    """The process that held it is gone, as a newer Hello of its worker has shown."""
    commit = case.commit_of(tenure.ended)
    for stream in case.streams.values():
        if stream.begun_ns is None or stream.boot != commit.boot or stream.worker_id != tenure.worker_id:
            continue
        if stream.begun_ns <= commit.durable_ns and case.granted_before(tenure, stream.begun_ns):
            hello: Any = stream.hello
            if all(held.lease_id != tenure.lease_id for held in hello.leases):
                return True
    return False


def no_early_expiry(case: Case) -> Iterator[str]:
    """No lease expires before it was silent for its length, by the server's monotonic clock and counted from the last
    sign of life that the server has processed and answered with: held (1.4). One that comes while the end is being
    written is not answered so."""
    for one in _expiries(case):
        if not one.in_grace and one.silent_ns + ROUNDING_NS < one.length_ns:
            what = "heard of" if one.heard else "given"
            yield f"{one.tenure} expired {one.silent_ns / 1e9:g} s after it was {what}, of {one.length_ns / 1e9:g} s"


def grace_after_restart(case: Case) -> Iterator[str]:
    """A lease that the log gave to a restarted server does not expire before max(its length, 60 s), nor before its
    length after a Welcome that kept it; once its worker has been heard of otherwise it is as any other (1.4)."""
    for one in _expiries(case):
        if one.in_grace and one.spare_ns + ROUNDING_NS < 0:
            since_start_ns = one.commit.server_ns - one.boot.server_ns
            yield f"{one.tenure} expired {since_start_ns / 1e9:g} s after the server's start"


def lost_is_noticed(case: Case) -> Iterator[str]:
    """A lease that is not heard of expires within its length (after a restart the grace), once more that length for
    the brake on masses and for every standstill of the server, the time that the disk or the server stood still, and
    3 s (1.2, 1.4)."""
    for one in _expiries(case):
        begin_ns, end_ns = one.ignored.at_ns, one.commit.durable_ns
        stood = [span for span in one.boot.pauses if span.overlaps(begin_ns, end_ns)]
        troubled_ns = sum_of(case.disk_trouble, begin_ns, end_ns) + sum_of(stood, begin_ns, end_ns)
        allowed_ns = one.length_ns * (1 + len(stood)) + 2 * troubled_ns + SLACK_NS
        if one.late_ns > allowed_ns:
            yield f"{one.tenure} expired {one.late_ns / 1e9:g} s after it had run out, of {allowed_ns / 1e9:g} s"


def masses_are_held(case: Case) -> Iterator[str]:
    """Where more than max(3, 30 %) of the leases run out within a second, they are first given their length again: it
    was probably the server's own fault (1.4)."""
    first = [one for one in _expiries(case) if one.spare_ns < one.length_ns - SECOND_NS]
    for one in first:
        together = [
            other
            for other in first
            if other.boot is one.boot
            and one.due_server_ns <= other.due_server_ns
            and other.due_by_ns < one.due_server_ns + SECOND_NS - ROUNDING_NS
        ]
        if len(together) <= MASS_COUNT:
            continue
        live = sum(
            tenure.granted <= one.tenure.ended and (not tenure.ended or tenure.ended >= one.tenure.ended)
            for tenure in case.story.tenures.values()
        )
        if len(together) > max(MASS_COUNT, MASS_PART * (live + len(together))):
            yield f"{len(together)} leases of about {live} ended within a second, at {one.commit.durable_ns / 1e9:g} s"


def late_sweeps_are_held(case: Case) -> Iterator[str]:
    """A server that stood still for more than a quarter of a lease after the lease had run out ends none before it has
    given all of them their length again (1.4)."""
    for one in _expiries(case):
        done = [
            pause for pause in one.boot.pauses if pause.end_ns is not None and pause.end_ns <= one.commit.durable_ns
        ]
        if not done or done[-1].end_ns is None:
            continue
        resumed_ns = one.server_ns(done[-1].end_ns)
        late_ns = resumed_ns - one.due_by_ns
        since_ns = one.commit.server_ns - resumed_ns
        due_meanwhile = one.virtual_ns(one.due_server_ns) > done[-1].begin_ns
        if due_meanwhile and late_ns > one.length_ns // 4 + ROUNDING_NS and since_ns + ROUNDING_NS < one.length_ns:
            yield f"{one.tenure} expired {since_ns / 1e9:g} s after a standstill of the server"


def beats_add_up(case: Case) -> Iterator[str]:
    """Beats are counted by the worker, for the attempt: what was heard and acknowledged a while before its end is in
    the log at its end, whatever happened to the server in between (1.3)."""
    for tenure in case.story.tenures.values():
        if not tenure.ended:
            continue
        commit = case.commit_of(tenure.ended)
        known_ns = decided_at(case, tenure, commit)
        if known_ns is None:
            continue
        for pause in case.boots[commit.boot].pauses:
            if pause.overlaps(known_ns, commit.durable_ns):
                # The clock may have stood still meanwhile, so all of it may have been before.
                known_ns = min(known_ns, pause.begin_ns - (commit.durable_ns - known_ns))
        known_ns -= TICK_NS
        # A beat that comes while the end of its lease is on its way to the disk, or on a stream that a newer one takes
        # over at that instant, is not answered, and need not count.
        signs = case.heard_of(tenure.lease_id)
        taken = {(sign.boot, sign.at_ns) for sign in signs if sign.answered}
        taken -= {(sign.boot, sign.at_ns) for sign in signs if not sign.answered}
        heard = [
            beat.count
            for beat in case.beats_of.get(tenure.lease_id, ())
            if beat.boot == commit.boot and beat.at_ns <= known_ns and (beat.boot, beat.at_ns) in taken
        ]
        written = [event.payload.count for event in tenure.beats if isinstance(event.payload, e.JobHeartbeat)]
        if heard and max(heard) > max(written, default=0):
            yield f"{tenure}: {max(heard)} beats were heard, {max(written, default=0)} are written down"


def decided_at(case: Case, tenure: Tenure, commit: Committing) -> int | None:
    """When the end of an attempt was decided, at the latest, in virtual time; None: the log does not tell.

    The time of an event is that of its decision, by the server's wall clock; a deadline is earlier than that.
    """
    events = tenure.job.events
    end = next(event for event in events if event.position == tenure.ended)
    before = [event for event in events if event.position < commit.first]
    if before and before[-1].time_us == end.time_us:
        return None  # the clock of the server was behind the log
    ago_ns = round((commit.wall_us - end.time_us) * 1000 / case.boots[commit.boot].rate)
    return commit.durable_ns - max(0, ago_ns)


def paused_gives_nothing(case: Case) -> Iterator[str]:
    """After the OK to a pause nothing of the queue is given out until it is resumed (1.3, PauseQueues)."""
    for call, _ in case.answered:
        if call.rpc != "PauseQueues":
            continue
        request: Any = call.request
        for item in request.items:
            steps = case.story.pauses.get(item.name, [])
            since = call.durable_at_answer
            if not item.paused or not value_at(steps, since):
                continue
            until = next((at for at, paused in steps if at > since and not paused), len(case.history.log) + 1)
            for tenure in case.story.tenures.values():
                if tenure.job.origin.queue == item.name and since < tenure.granted < until:
                    yield f"{tenure} was given out at {tenure.granted}, after the pause was acknowledged at {since}"


def ended_jobs_are_not_given_out(case: Case) -> Iterator[str]:
    """Once a lease is over, no assignment of it is sent: a job cancelled in the queue never starts (1.9/10)."""
    for sent in case.history.sent:
        tenure = case.story.tenures.get(sent.lease_id)
        if tenure is not None and tenure.ended and case.told_ns(tenure.ended) < sent.at_ns:
            yield f"{tenure} was sent to its worker after it had ended"


def deadlines_are_kept(case: Case) -> Iterator[str]:
    """A job whose time is over is ended within a second, less what the disk or the server stood still, or the server
    was not there (1.4)."""
    for job in case.story.jobs.values():
        if job.outcome is not e.Outcome.EXPIRED:
            continue
        commit = case.commit_of(job.ended)
        boot = case.boots[commit.boot]
        expired = job.events[-1]
        late_ns = (commit.wall_us - expired.time_us) * 1000
        up_ns = commit.durable_ns - (boot.serving_ns or boot.started_ns)
        stood_ns = sum_of(boot.pauses, commit.durable_ns - late_ns, commit.durable_ns)
        stood_ns += sum_of(case.disk_trouble, commit.durable_ns - late_ns, commit.durable_ns)
        jumped = any(span.begin_ns > commit.durable_ns - 600 * SECOND_NS for span in case.clock_jumps)
        if not jumped and min(late_ns, up_ns) > 2 * stood_ns + SLACK_NS:
            yield f"job {job.id} expired {late_ns / 1e9:g} s after its deadline, the server up for {up_ns / 1e9:g} s"
