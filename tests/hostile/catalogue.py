"""What a row of the catalogue of bad input is, and short ways to write one.

A case is one thing somebody sends and the one right answer to it. The rows themselves are in `catalogue_*.py`, by what
they are about; `catalogue_rows.py` says what each number stands for and where it is tried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hostile.outcome import Outcome
from tests.hostile.scene import Scene, Send, Sent

ERRORS_PROTO = Path(__file__).parents[2] / "protos" / "tenure" / "v1" / "errors.proto"

CREATE = "JobService.CreateJobs"
RETRIEVE = "JobService.RetrieveJob"
BROWSE = "JobService.BrowseJobs"
WATCH = "JobService.WatchJobs"
EXTEND = "JobService.ExtendJobs"
TERMINATE = "JobService.TerminateJobs"
FOLLOW = "JobService.FollowLogs"
EVENTS = "EventService.ReadEvents"
QUEUES = "QueueService.UpsertQueues"
PAUSE = "QueueService.PauseQueues"
HOOKS = "WebhookService.UpsertWebhooks"
REPLAY = "WebhookService.ReplayDeliveries"
STOP = "AdminService.StopJobs"
CONNECT = "WorkerService.Connect"

INVALID = "INVALID_FIELD"
# The path of the specification in the requests of `bad_job`.
SPEC = "items[0].specification"


def codes_of_reasons() -> dict[str, str]:
    """The gRPC code of every reason, as the contract's comments say: `// INVALID_ARGUMENT: …`."""
    found: dict[str, str] = {}
    code = ""
    for line in ERRORS_PROTO.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\s*// ([A-Z_]+): ", line):
            code = match[1]
        elif match := re.match(r"\s*ERROR_REASON_([A-Z_]+) = ", line):
            if code:
                found[match[1]] = code
            code = ""
    return found


CODES = codes_of_reasons()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that is sent, and what is to come of it.

    Attributes:
        row: its number in the catalogue.
        name: what is special about it; with the row its id.
        send: sends it; what it has to prepare it does before `scene.mark()`.
        reason: the refusal's, which says the code too. Empty: it is taken, or gRPC itself answers, as `code` says.
        code: only without a reason.
        fields: the paths in the BadRequest, all of them; empty: not looked at.
        open: the stream goes on afterwards.
        writes: it is taken, and that may be written down.
        http: the status code of the web door; 0: it is not spoken to.
        below: gRPC's own transport answers, before anything of ours is asked; it may say INTERNAL.
    """

    row: int
    name: str
    send: Send
    reason: str = ""
    code: str = "OK"
    fields: tuple[str, ...] = ()
    open: bool = False
    writes: bool = False
    http: int = 0
    below: bool = False

    @property
    def id(self) -> str:
        """How pytest names it."""
        return f"{self.row:02}-{self.name}"

    @property
    def expected_code(self) -> str:
        """The gRPC code that is to come."""
        return CODES[self.reason] if self.reason else self.code


def call(rpc: str, *sent: Sent, who: str = "") -> Send:
    """Call an RPC with these messages, one after the other, and read what comes to its end."""

    async def send(scene: Scene) -> Outcome:
        return await scene.call(rpc, *sent, who=who)

    return send


def bad(row: int, name: str, rpc: str, sent: Sent, *fields: str, reason: str = INVALID, who: str = "") -> Case:
    """A message that is refused; `fields` are at fault."""
    return Case(row=row, name=name, send=call(rpc, sent, who=who), reason=reason, fields=fields)


def good(row: int, name: str, rpc: str, sent: Sent, *, writes: bool = False, who: str = "") -> Case:
    """A strange message that is taken."""
    return Case(row=row, name=name, send=call(rpc, sent, who=who), writes=writes)


def job(**fields: Any) -> dict[str, Any]:
    """The request for a job with these fields, in a queue without workers."""
    return {"items": [{"specification": {"command": "true", "queue": "still", **fields}}]}


def bad_job(row: int, name: str, fields: dict[str, Any], *paths: str, reason: str = INVALID) -> Case:
    """A specification that is refused; the paths are relative to it."""
    return bad(row, name, CREATE, job(**fields), *(f"{SPEC}.{path}" if path else SPEC for path in paths), reason=reason)


def good_job(row: int, name: str, fields: dict[str, Any]) -> Case:
    """A strange specification that is taken."""
    return good(row, name, CREATE, job(**fields), writes=True)


def web(
    verb: str,
    path: str,
    body: Any = None,
    *,
    who: str = "owner",
    params: Iterable[tuple[str, str]] | None = None,
    headers: Iterable[tuple[str, str | bytes]] = (),
) -> Send:
    """Send a request to the web door; the body is bytes, or is written as JSON."""
    more: dict[str, Any] = {}
    if isinstance(body, bytes):
        more["content"] = body
    elif body is not None:
        more["json"] = body
    if params is not None:
        more["params"] = list(params)

    async def send(scene: Scene) -> Outcome:
        return await scene.request(verb, path, who=who, headers=tuple(headers), **more)

    return send


def bad_web(row: int, name: str, send: Send, *fields: str, reason: str = INVALID, http: int = 400) -> Case:
    """A request to the web door that is refused."""
    return Case(row=row, name=f"web-{name}", send=send, reason=reason, fields=fields, http=http)


def key_of(field: str, key: str) -> str:
    """`environment["A"]`"""
    return f"{field}[{json.dumps(key[:64], ensure_ascii=False)}]"
