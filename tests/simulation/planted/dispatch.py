"""Bugs of giving jobs out and of watching them."""

from __future__ import annotations

from tests.simulation.planted.planting import Edit, Planted

_DISPATCHER = "tenure.controlplane.dispatcher:Dispatcher."
_SESSIONS = "tenure.controlplane.sessions:Sessions."
_WATCHES = "tenure.controlplane.watch:Watches."
_CHECKED = "position = await self._resume.check(request.resume_token)"

BUGS = (
    Planted(
        name="paused-queue-gives-out",
        sentence="A queue that is paused goes on giving out its jobs.",
        caught_by=frozenset({"paused-gives-nothing"}),
        seeds=200,
        edits=(
            Edit(
                where=_DISPATCHER + "_paused",
                swaps=(("return known is not None and known.paused", "return known is None"),),
            ),
        ),
    ),
    Planted(
        name="pause-answered-early",
        sentence="The OK to a pause does not wait for what is just being given out.",
        caught_by=frozenset({"paused-gives-nothing"}),
        seeds=3000,
        edits=(
            Edit(
                where="tenure.controlplane.queue_service:QueueService.pause_queues",
                swaps=(("    await self._given_out()\n", ""),),
            ),
        ),
    ),
    Planted(
        name="requeued-job-forgotten",
        sentence="A job that comes back to the queue is not offered again before a restart.",
        caught_by=frozenset({"ends-or-is-explained"}),
        seeds=50,
        edits=(
            Edit(
                where=_SESSIONS + "_waits",
                swaps=(("elif before.phase is not Phase.QUEUED:", "elif False:"),),
            ),
        ),
    ),
    Planted(
        name="cancel-forgets-the-assignment",
        sentence="A job that is cancelled while its assignment waits to be sent is sent to the worker all the same.",
        caught_by=frozenset({"ended-jobs-are-not-given-out"}),
        seeds=300,
        edits=(
            Edit(
                where=_SESSIONS + "_ended",
                swaps=(("session.outbox.take_back_assignment(live.lease_id)", "False"),),
            ),
        ),
    ),
    Planted(
        name="revoked-lease-not-told",
        sentence="A worker is not told when a lease it holds is taken from it.",
        caught_by=frozenset({"revoked-is-told"}),
        seeds=50,
        edits=(
            Edit(
                where=_SESSIONS + "_ended",
                swaps=(("            session.outbox.stop(item)\n", ""),),
            ),
        ),
    ),
    Planted(
        name="watch-skips-after-reconnect",
        sentence="A watch that goes on with its token leaves out one event.",
        caught_by=frozenset({"watches-are-slices"}),
        seeds=50,
        edits=(Edit(where=_WATCHES + "watch", swaps=((_CHECKED, _CHECKED.replace("await", "1 + await")),)),),
    ),
    Planted(
        name="watch-repeats-after-reconnect",
        sentence="A watch that goes on with its token repeats one event.",
        caught_by=frozenset({"watches-are-slices"}),
        seeds=50,
        edits=(Edit(where=_WATCHES + "watch", swaps=((_CHECKED, _CHECKED.replace("await", "-1 + await")),)),),
    ),
    Planted(
        name="watch-token-runs-ahead",
        sentence="The token of a watched event is that of the page it was read with.",
        caught_by=frozenset({"watches-are-slices"}),
        seeds=200,
        edits=(
            Edit(
                where=_WATCHES + "_follow",
                swaps=(("self._resume.make(event.position)", "self._resume.make(reached)"),),
            ),
        ),
    ),
    Planted(
        name="watch-snapshot-repeated",
        sentence="A watch repeats events that were part of its snapshot.",
        caught_by=frozenset({"watches-are-slices"}),
        seeds=50,
        edits=(
            Edit(
                where=_WATCHES + "_response",
                swaps=(("if event.version <= seen.get(job_id, 0):", "if False:"),),
            ),
        ),
    ),
)
