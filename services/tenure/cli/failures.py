"""What went wrong, for people: one line, a line a bad field, a line that says what to do. And the exit code.

Exit codes: 1 the server refused; 2 the command was written wrongly; 3 the server was not reached or did not answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tenure.cli.durations import format_duration
from tenure.cli.text import clean

if TYPE_CHECKING:
    from tenure.client import FieldViolation, TenureError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

_MESSAGE_LIMIT = 600


class Problem(Exception):
    """A command cannot be done, for a reason that the person who typed it can mend.

    Attributes:
        message: what is wrong, one line.
        details: further lines, as one for each bad field of a file.
        hints: what to do, a line each; none: it is clear.
        exit_code: of the process.
    """

    def __init__(
        self,
        message: str,
        *,
        details: Iterable[str] = (),
        hints: Iterable[str] = (),
        exit_code: int = EXIT_USAGE,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.hints = tuple(hints)
        self.exit_code = exit_code

    def lines(self) -> list[str]:
        """What to print."""
        return [self.message, *(f"  {line}" for line in self.details), *(f"  → {line}" for line in self.hints)]


HINTS = {
    "CREDENTIALS_MISSING": "give a token with --token-file FILE or TENURE_TOKEN",
    "CREDENTIALS_INVALID": "the token is unknown here or was revoked: ask the operator for another one",
    "ROLE_NOT_ALLOWED": "use a token whose role may do this",
    "JOB_NOT_FOUND": "`tenure jobs list` shows the jobs that you can see",
    "QUEUE_NOT_FOUND": "`tenure queues list` shows the queues there are",
    "PRODUCT_NOT_FOUND": "`tenure queues list` shows the products that are served",
    "APPLICATION_UNKNOWN": "give the job a command, or have the application added to the server's configuration",
    "REQUEST_ID_REUSED": "give another --request-id, or none",
    "WEBHOOK_NOT_FOUND": "`tenure webhooks list` shows those that you can see",
    "WORKER_UNREACHABLE": "`--follow` waits for it",
    "JOB_FINAL": "`tenure jobs get ID` shows how it ended",
    "NO_TIME_ALLOCATION": "it never expires, so there is nothing to extend",
    "QUEUE_READ_ONLY": "change it in the server's configuration file",
    "VERSION_CONFLICT": "run the command again",
    "STORAGE_FULL": "the operator has to free disk space on the server; nothing was changed",
    "STORAGE_READ_ONLY": "try again later; `tenure log state` tells the operator why",
    "LIMIT_EXCEEDED": "ask for less at a time, or try again later",
    "RESUME_TOKEN_TOO_OLD": "start over without the token",
    "LOG_REGRESSED": "the server's log was restored from an older copy: look at your jobs again",
}


def refusal(error: TenureError, server: str, *, many: bool = False) -> Problem:
    """A failed call as a problem to print.

    Args:
        error: the failure.
        server: the address that was called, as the user wrote it.
        many: the call had many items, so that which one was bad is news even where the message says the rest.
    """
    # A store that takes no changes is UNAVAILABLE as well: to be tried again, but that is an answer.
    unanswered = error.code.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED") and error.reason != "STORAGE_READ_ONLY"
    hints = []
    if unanswered and not error.reason:
        message = f"cannot reach {server}: {_transport(error)}"
        hints.append("is it running (`tenure serve`)? Another address: --server HOST:PORT or TENURE_SERVER")
    else:
        what = "no answer" if unanswered else "refused"
        message = f"{what} ({error.reason or error.code.name}): {clean(error.message, _MESSAGE_LIMIT)}"
        hints += [hint] if (hint := _hint(error)) else []
    if unanswered and error.request_id:
        hints.append(f"if it got through after all, --request-id {error.request_id} repeats it without doing it twice")
    return Problem(
        message,
        details=[
            f"{clean(each.field)}: {clean(each.description, 300)}"
            for each in error.field_violations
            if not _said(each, error.message, many=many)
        ],
        hints=hints,
        exit_code=EXIT_UNREACHABLE if unanswered else EXIT_REFUSED,
    )


def _said(violation: FieldViolation, message: str, *, many: bool) -> bool:
    """Whether the message has said already what a bad field would add."""
    known = violation.field in message or (not many and violation.field in ("items[0]", "items[0].specification"))
    return known and violation.description in message


def _hint(error: TenureError) -> str:
    match error.reason:
        case "DUPLICATE_JOB" if "job_id" in error.metadata:
            return f"`tenure jobs get {clean(error.metadata['job_id'])}` shows it"
        case "EXTENSION_CAP" if error.metadata.get("remaining_seconds", "").isdecimal():
            rest = int(error.metadata["remaining_seconds"][:12])
            return f"at most {format_duration(rest * 1_000_000)} can be added" if rest else "nothing can be added"
        case reason:
            return HINTS.get(reason, "")


def _transport(error: TenureError) -> str:
    """The gist of what the transport says, which is long and full of addresses."""
    known = {
        "connection refused": "connection refused",
        "dns resolution failed": "no such host",
        "name resolution": "no such host",
        "hostname verification": "its certificate is for other names than this one (write --server as it has it)",
        "socket closed": "it hung up at once (does it want TLS? --tls-ca FILE or --tls)",
        "handshake": "the encrypted connection could not be made (is --tls-ca right, and does the server use TLS?)",
        "certificate": "its certificate is not trusted (--tls-ca)",
        "no route to host": "no route to it",
        "network is unreachable": "the network is unreachable",
        "timed out": "no answer in time",
    }
    if error.code.name == "DEADLINE_EXCEEDED":
        return "no answer in time"
    message = error.message.lower()
    return next((gist for phrase, gist in known.items() if phrase in message), clean(error.message, 200))
