"""Resume tokens: a place in the log that a client keeps, and that notices when the log is no longer the same.

A token holds the log's id and epoch, the position, and the end of the log when it was made with a piece of the chain
hash there. The end and not the position: it costs no read, and it stands for all that was durable then. A log that has
lost or changed anything up to there has another hash, and the token is answered LOG_REGRESSED instead of skipping what
came in its place. Tokens are authenticated, so that nothing of this can be made up.

No events are ever dropped from the front of the log, so no token becomes too old.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from functools import lru_cache

from tenure.domain.errors import Reason, Refused
from tenure.store.store import Head, Store

_VERSION = 1
# Version, log, epoch, position, end of the log, hash there.
_BODY = struct.Struct(">B8sIQQ8s")
_MAC_BYTES = 16


class ResumeTokens:
    """Makes and checks resume tokens of one log.

    Args:
        store: the log.
        key: secret of the servers of this log; tokens of another key are refused.
    """

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        # Copied for each token: hmac.digest would let go of the interpreter's lock, and every answer waits for it then.
        self._hmac = hmac.new(hmac.digest(key, b"resume token", "sha256"), digestmod="sha256")
        self._last: tuple[Head, int, str] | None = None

    async def make(self, position: int) -> str:
        """The token for "everything up to this position was seen"; the position is durable."""
        head = self._store.head()
        if self._last is not None and self._last[1] == position and self._last[0] == head:
            return self._last[2]
        body = _BODY.pack(_VERSION, _short(head.log_id), head.epoch, position, head.position, _piece(head.hash))
        token = base64.urlsafe_b64encode(body + self._mac(body)).decode("ascii")
        self._last = head, position, token
        return token

    async def check(self, token: str) -> int:
        """The position to go on after.

        Raises:
            Refused: RESUME_TOKEN_INVALID, no token of this log; LOG_REGRESSED, the log has lost what was seen.
        """
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise _invalid() from None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(body) != _BODY.size or not hmac.compare_digest(mac, self._mac(body)):
            raise _invalid()
        version, log, epoch, position, end, piece = _BODY.unpack(body)
        head = self._store.head()
        if version != _VERSION or log != _short(head.log_id):
            raise _invalid()
        if epoch != head.epoch:
            raise _regressed("was put back from a copy")
        chain = await self._store.chain_at(end)
        if chain is None or await self._store.chain_at(position) is None:
            raise _regressed("has lost events")
        if chain[0] != end or _piece(chain[1]) != piece:
            raise _regressed("is not what it was")
        return int(position)

    def _mac(self, body: bytes) -> bytes:
        made = self._hmac.copy()
        made.update(body)
        return made.digest()[:_MAC_BYTES]


@lru_cache(maxsize=8)
def _short(log_id: str) -> bytes:
    return hashlib.sha256(log_id.encode("utf-8")).digest()[:8]


def _piece(chain_hash: bytes) -> bytes:
    return chain_hash[:8].ljust(8, b"\0")


def _invalid() -> Refused:
    return Refused(
        Reason.RESUME_TOKEN_INVALID,
        "the resume token is not of this server's log; begin without one",
        field="resume_token",
    )


def _regressed(what: str) -> Refused:
    return Refused(
        Reason.LOG_REGRESSED,
        f"the server's log {what} since the resume token was made; begin without one and read everything again",
        field="resume_token",
    )
