"""All planted bugs, by name."""

from __future__ import annotations

from tests.simulation.planted import dispatch, durability, leases, time, worker
from tests.simulation.planted.planting import Planted

BUGS: dict[str, Planted] = {
    bug.name: bug for bug in (*durability.BUGS, *leases.BUGS, *time.BUGS, *dispatch.BUGS, *worker.BUGS)
}

# The seeds at which they were found last, so that a quick look finds them there again.
FIRST: dict[str, int] = {
    "acknowledge-before-commit": 1,
    "idempotency-in-memory": 4,
    "continue-after-failed-fsync": 50,
    "reply-from-unflushed-state": 1,
    "cache-ahead-of-the-log": 25,
    "assignment-before-commit": 1,
    "request-id-kept-on-refusal": 3,
    "duplicates-checked-in-memory": 22,
    "twins-kept-after-the-end": 71,
    "no-lease-check": 443,
    "lease-by-wall-clock": 80,
    "no-grace-after-restart": 38,
    "no-mass-expiry-brake": 62,
    "no-late-sweep-brake": 22,
    "end-of-stream-is-an-outcome": 1,
    "superseded-session-may-speak": 8,
    "leases-not-adopted": 4,
    "unaccepted-never-taken-back": 217,
    "lost-lease-is-confirmed": 2,
    "lost-beat-is-confirmed": 14,
    "repeated-report-is-not-known": 22,
    "slot-free-at-the-end-of-the-lease": 3,
    "credit-miscounted": 1,
    "timers-not-rebuilt": 51,
    "expiry-not-lazy": 125,
    "expired-when-noticed": 18,
    "extension-stored-absolute": 6,
    "deadline-not-resent-after-reconnect": 11,
    "cancel-not-resent-after-reconnect": 284,
    "heartbeat-count-not-cumulative": 11,
    "last-beats-lost": 1,
    "ban-forgotten": 11,
    "interruptions-count-as-failures": 86,
    "wait-never-ends": 47,
    "paused-queue-gives-out": 28,
    "pause-answered-early": 305,
    "requeued-job-forgotten": 2,
    "cancel-forgets-the-assignment": 34,
    "revoked-lease-not-told": 1,
    "watch-skips-after-reconnect": 3,
    "watch-repeats-after-reconnect": 1,
    "watch-token-runs-ahead": 9,
    "watch-snapshot-repeated": 4,
    "no-self-fence": 8,
    "fence-counts-from-the-answer": 18,
    "start-before-accept-ack": 1,
    "start-before-started-ack": 1,
    "success-before-upload": 1,
    "start-on-partial-input": 1,
    "hello-names-no-lease": 1,
    "disconnected-for-ever": 1261,
    "lost-lease-runs-on": 1,
    "outcome-not-repeated": 16,
}
