"""Bugs of the worker's side: when it starts, when it writes, what it says of itself."""

from __future__ import annotations

from tests.simulation.planted.planting import Edit, Planted

_ATTEMPT = "tenure.agent.attempt:Attempt."
_LEDGER = "tenure.agent.ledger:Ledger."

BUGS = (
    Planted(
        name="no-self-fence",
        sentence="A worker that is not heard of goes on writing to the object store.",
        caught_by=frozenset({"no-write-after-the-fence"}),
        seeds=50,
        edits=(
            Edit(
                where="tenure.agent.lease:Lease.write_left_ns",
                swaps=(
                    (
                        "return max(0, self.heard_ns + int(self.length_ns * FENCE) - now_ns)",
                        "return 3600 * 1_000_000_000",
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="fence-counts-from-the-answer",
        sentence="A worker counts its lease from the answer to a beat instead of from its sending.",
        caught_by=frozenset({"no-write-after-the-fence"}),
        seeds=3000,
        edits=(
            Edit(
                where=_LEDGER + "heartbeat_acknowledged",
                swaps=(("holding.lease.beat_acknowledged()", "holding.lease._renew(now_ns)"),),
            ),
        ),
    ),
    Planted(
        name="start-before-accept-ack",
        sentence="A worker starts the command without waiting for any confirmation of the server.",
        caught_by=frozenset({"starts-after-confirmation"}),
        seeds=50,
        edits=(
            Edit(
                where="tenure.agent.worker:Worker._attend",
                swaps=(
                    (
                        "await self._changes.until(lambda: holding.standing in (Standing.HELD, Standing.OVER))",
                        "holding.standing = Standing.HELD",
                    ),
                ),
            ),
            Edit(
                where=_ATTEMPT + "_ask_leave",
                swaps=(("lambda: self._holding.started or self._stop.ordered()", "lambda: True"),),
            ),
        ),
    ),
    Planted(
        name="start-before-started-ack",
        sentence="A worker starts the command while its `started` is on its way to the server.",
        caught_by=frozenset({"starts-after-confirmation"}),
        seeds=50,
        edits=(
            Edit(
                where=_ATTEMPT + "_ask_leave",
                swaps=(("lambda: self._holding.started or self._stop.ordered()", "lambda: True"),),
            ),
        ),
    ),
    Planted(
        name="success-before-upload",
        sentence="Success is reported before the output is stored.",
        caught_by=frozenset({"completed-means-stored"}),
        seeds=50,
        edits=(
            Edit(
                where=_ATTEMPT + "_after_success",
                swaps=(("    await self._stop.unless(self._stop.upload_over(), place.copying.after)\n", ""),),
            ),
        ),
    ),
    Planted(
        name="start-on-partial-input",
        sentence="The command starts before its input is there.",
        caught_by=frozenset({"input-is-complete"}),
        seeds=50,
        edits=(
            Edit(
                where=_ATTEMPT + "_copy_input",
                swaps=(("    await self._stop.unless(self._stop.any_order(), place.copying.before)\n", ""),),
            ),
        ),
    ),
    Planted(
        name="hello-names-no-lease",
        sentence="A worker that connects again does not name the leases it holds.",
        caught_by=frozenset({"hello-names-what-runs"}),
        seeds=50,
        edits=(
            Edit(
                where=_LEDGER + "held_leases",
                swaps=(("for lease_id, h in self._held.items()", "for lease_id, h in list(self._held.items())[:0]"),),
            ),
        ),
    ),
    Planted(
        name="disconnected-for-ever",
        sentence="A command goes on without end while its worker has no contact with the server.",
        caught_by=frozenset({"disconnected-ends"}),
        seeds=2000,
        edits=(
            Edit(
                where="tenure.agent.interruption:Interruption.until",
                swaps=(("self._holding.lease.disconnected_left_ns(now_ns, limit_ns)", "3600 * NS"),),
            ),
        ),
    ),
    Planted(
        name="lost-lease-runs-on",
        sentence="A command goes on though its worker was told that the lease is over.",
        caught_by=frozenset({"lost-stops", "ends-or-is-explained", "executions-end"}),
        seeds=50,
        edits=(
            Edit(
                where="tenure.agent.holding:Holding.lose",
                swaps=(("    self.order(StopOrder(cause=StopCause.LOST, at_ns=now_ns, reason=reason))\n", ""),),
            ),
        ),
    ),
    Planted(
        name="outcome-not-repeated",
        sentence="A report whose answer was lost with the stream is not repeated.",
        caught_by=frozenset({"ends-or-is-explained", "executions-end", "no-orphans"}),
        seeds=200,
        edits=(
            Edit(
                where=_LEDGER + "reset",
                swaps=(("            holding.owed.sent_ns = None\n", "            holding.owed.sent_ns = 1 << 62\n"),),
            ),
            Edit(
                where=_LEDGER + "due_ns",
                swaps=(
                    (
                        "if holding.owed is not None:",
                        "if holding.owed is not None and holding.owed.sent_ns != 1 << 62:",
                    ),
                ),
            ),
        ),
    ),
)
