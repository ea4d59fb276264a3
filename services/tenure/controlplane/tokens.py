"""Bearer tokens: who a call speaks for.

A secret is `tnr_` and 256 random bits; the store keeps its SHA-256 only. What was looked up once is kept in memory, so
that a call costs a hash and no read; revoking drops it there, and every entry is looked up anew after half a minute,
so that a replica hears of what another one has revoked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tenure.controlplane.permissions import Role
from tenure.domain.errors import Reason, Refused
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.store.store import Store, TokenRow

SECRET_PREFIX = "tnr_"

_MAX_CACHED = 10_000
_CACHED_NS = 30_000_000_000
_MAX_SECRET_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls. `principal` is `<role>:<subject>`; `queues` limits a worker's token, empty: any queue.

    `token_id` names the token, so that what it has opened can be ended when it is revoked.
    """

    principal: str
    role: str
    subject: str
    project: str = ""
    queues: tuple[str, ...] = ()
    token_id: str = ""


ANONYMOUS = Identity(principal="", role="", subject="")
"""Whoever calls an RPC that asks for no token."""


def secret_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The secret in a call's metadata.

    Raises:
        Refused: CREDENTIALS_MISSING, CREDENTIALS_AMBIGUOUS, CREDENTIALS_INVALID.
    """
    found: str | bytes | None = None
    for key, value in metadata:
        if key == "authorization":
            if found is not None:
                raise Refused(Reason.CREDENTIALS_AMBIGUOUS, "send one `authorization` value, not several")
            found = value
    if found is None:
        raise Refused(Reason.CREDENTIALS_MISSING, "send `authorization: Bearer <token>` with the call")
    if not isinstance(found, str) or found[:7].lower() != "bearer " or len(found) > _MAX_SECRET_CHARACTERS:
        raise invalid()
    return found[7:].strip()


def invalid() -> Refused:
    """One answer for every kind of bad token."""
    return Refused(Reason.CREDENTIALS_INVALID, "the token is not known here, or it was revoked")


def digest_of(secret: str) -> bytes:
    """What the store keeps of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Tokens:
    """Makes, looks up and revokes tokens.

    Args:
        store: where they are kept.
        clock: for the times of making and revoking.
        ids: for the tokens' ids.
        random: gives that many random bytes, fit for secrets.
    """

    def __init__(self, store: Store, clock: Clock, ids: Ids, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._random = random
        self._cache: dict[bytes, tuple[Identity, int]] = {}
        self._revocations = 0
        self._revoking: set[asyncio.Task[bool]] = set()
        self._listeners: list[Callable[[str], None]] = []

    def on_revoked(self, listener: Callable[[str], None]) -> None:
        """Have the id of every token that is revoked here told to `listener`."""
        self._listeners.append(listener)

    def known(self, secret: str) -> Identity | None:
        """The identity of a secret that was looked up before, without waiting."""
        entry = self._cache.get(digest_of(secret))
        if entry is None or entry[1] < self._clock.monotonic_ns():
            return None
        return entry[0]

    async def identify(self, secret: str) -> Identity:
        """The identity of a secret.

        Raises:
            Refused: CREDENTIALS_INVALID.
        """
        digest = digest_of(secret)
        row = await self._find(digest)
        if row is None or row.revoked_us is not None or row.role not in set(Role):
            self._cache.pop(digest, None)
            raise invalid()
        identity = Identity(
            principal=f"{row.role}:{row.subject}",
            role=row.role,
            subject=row.subject,
            project=row.project,
            queues=row.queues,
            token_id=row.id,
        )
        if len(self._cache) >= _MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[digest] = identity, self._clock.monotonic_ns() + _CACHED_NS
        return identity

    async def _find(self, digest: bytes) -> TokenRow | None:
        """What is kept of a token, as it is now: one that is revoked while it is looked up is found to be so, or it
        would come back into the cache, and whoever ends what it has opened would not find that."""
        while True:
            revocations = self._revocations
            row = await self._store.find_token(digest)
            if revocations == self._revocations:
                return row

    async def create(
        self, *, role: Role, subject: str, project: str = "", queues: Iterable[str] = ()
    ) -> tuple[TokenRow, str]:
        """Make a token; returns what is kept of it, and the secret, which nobody can get again."""
        secret = self.new_secret()
        return await self.adopt(secret, role=role, subject=subject, project=project, queues=queues), secret

    async def adopt(
        self, secret: str, *, role: Role, subject: str, project: str = "", queues: Iterable[str] = ()
    ) -> TokenRow:
        """Keep a token whose secret exists already."""
        row = TokenRow(
            id=self._ids.new(),
            digest=digest_of(secret),
            role=role.value,
            subject=subject,
            project=project,
            queues=tuple(queues),
            created_us=self._clock.wall_us(),
        )
        await self._store.add_token(row)
        return row

    async def revoke(self, token_id: str) -> bool:
        """Revoke a token; False: there is none with this id. One that was revoked before stays so."""
        # The store does it whether anybody waits or not: what is known of the token, and what it has opened, must not
        # outlive it because the call has ended.
        task = asyncio.get_running_loop().create_task(self._revoke(token_id))
        self._revoking.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _revoke(self, token_id: str) -> bool:
        changed = await self._store.revoke_token(token_id, self._clock.wall_us())
        self._revocations += 1
        for digest in [digest for digest, (identity, _) in self._cache.items() if identity.token_id == token_id]:
            del self._cache[digest]
        if not changed:
            return any(row.id == token_id for row in await self._store.list_tokens())
        for listener in self._listeners:
            listener(token_id)
        return True

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._revoking.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it

    def new_secret(self) -> str:
        """A secret that nobody knows yet."""
        return SECRET_PREFIX + base64.urlsafe_b64encode(self._random(32)).rstrip(b"=").decode("ascii")
