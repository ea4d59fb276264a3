"""What a row of the catalogue of bad input is, and the ways to write one.

A case is one thing somebody sends and the one right answer to it. The rows themselves are in `catalogue_*.py`, in the
order of what they are about; `catalogue_rows.py` says what each number stands for and where it is tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from tests.hostile.scene import Outcome, Scene, Send

ERRORS_PROTO = Path(__file__).parents[2] / "protos" / "tenure" / "v1" / "errors.proto"


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

    @property
    def id(self) -> str:
        """How pytest names it."""
        return f"{self.row:02}-{self.name}"

    @property
    def expected_code(self) -> str:
        """The gRPC code that is to come."""
        return CODES[self.reason] if self.reason else self.code


def call(rpc: str, *messages: Message | bytes, who: str = "owner", take: int | None = None) -> Send:
    """Call an RPC with these messages, one after the other, and read what comes to its end."""
    raw = [message if isinstance(message, bytes) else message.SerializeToString() for message in messages]

    async def send(scene: Scene) -> Outcome:
        return await scene.call(rpc, *raw, who=who, take=take)

    return send


def with_metadata(
    rpc: str, message: Message, *metadata: tuple[str, str | bytes], who: str = "nobody", within_s: float | None = 20.0
) -> Send:
    """Call an RPC with metadata of the case's own."""

    async def send(scene: Scene) -> Outcome:
        return await scene.call(rpc, message.SerializeToString(), who=who, extra=metadata, within_s=within_s)

    return send


def web(
    verb: str,
    path: str,
    *,
    json: object = None,
    content: bytes | None = None,
    params: Iterable[tuple[str, str]] | None = None,
    who: str = "owner",
    headers: Iterable[tuple[str, str]] = (),
) -> Send:
    """Send a request to the web door."""

    async def send(scene: Scene) -> Outcome:
        more: dict[str, object] = {"content": content} if content is not None else {}
        if json is not None:
            more["json"] = json
        if params is not None:
            more["params"] = list(params)
        return await scene.request(verb, path, who=who, headers=tuple(headers), **more)

    return send
