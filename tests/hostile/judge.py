"""Whether an answer is the right one to bad input, and harmless whatever else it is.

The judge knows nothing of who was asked. What it holds against an answer is a sentence each, so that a proof can count
them; a control shows it answers of a server that does everything wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.hostile.catalogue import CODES, Case
from tests.hostile.outcome import Outcome

HTTP_OF_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# Signs of what a caller is never told: our language, our files, our libraries.
INSIDES = re.compile(
    r"Traceback|\b[A-Za-z]+(?:Error|Exception)\b|\.py\b|site-packages|<class|object at 0x|<bound method|"
    r"google\.protobuf|\bupb\b|\b(?:apsw|sqlite3?|SQLITE|asyncio|starlette|uvicorn|grpc_message)\b|codec can't|"
    r"embedded null|\bNone\b"
)
CANARY = "canary"


def found_wrong(case: Case, outcome: Outcome, *, written: int, well: bool) -> list[str]:
    """Everything that is wrong with how a case was answered.

    Args:
        case: what was sent, and what was to come.
        outcome: what came.
        written: how many events it has added to the log.
        well: the next good call works.
    """
    return [
        *_not_as_expected(case, outcome),
        *harm(outcome, below=case.below),
        *(["it was written down"] if written and not case.writes else []),
        *([] if well else ["the next good call does not work"]),
    ]


def harm(outcome: Outcome, *, below: bool = False) -> Iterator[str]:
    """What no answer may be, whatever was asked; `below`: it is that of gRPC's own transport."""
    broken = outcome.code in ("UNKNOWN", "INTERNAL") and not below
    if broken or outcome.reason == "INTERNAL" or outcome.http >= 500:
        yield f"it is answered {outcome.code} {outcome.reason} {outcome.http or ''}"
    if (inside := INSIDES.search(outcome.said)) is not None:
        yield f"it tells of the inside: {inside[0]!r} in {outcome.said!r}"
    if CANARY in outcome.said:
        yield f"it repeats a secret: {outcome.said!r}"
    if outcome.reason:
        if (outcome.infos, outcome.domains) != (1, ("tenure",)):
            yield f"it carries {outcome.infos} ErrorInfos of {outcome.domains}"
        if outcome.reason not in CODES:
            yield f"its reason {outcome.reason} is none of the contract"
        elif outcome.code and outcome.code != CODES[outcome.reason]:
            yield f"its code {outcome.code} is not the one of {outcome.reason}"


def _not_as_expected(case: Case, outcome: Outcome) -> Iterator[str]:
    if outcome.reason != case.reason:
        yield f"the reason is {outcome.reason or outcome.code}, not {case.reason or case.code}: {outcome.said!r}"
    elif outcome.code and outcome.code != case.expected_code:
        yield f"the code is {outcome.code}, not {case.expected_code}: {outcome.said!r}"
    if case.fields and set(outcome.fields) != set(case.fields):
        yield f"the fields at fault are {sorted(outcome.fields)}, not {sorted(case.fields)}"
    if outcome.open != case.open:
        yield "the stream goes on" if outcome.open else "the stream was ended"
    if case.http and outcome.http != case.http:
        yield f"the HTTP status is {outcome.http}, not {case.http}"
