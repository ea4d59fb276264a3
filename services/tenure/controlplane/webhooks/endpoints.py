"""The endpoints of all owners, in memory as they are in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tenure.controlplane.webhooks.signing import SECRET_BYTES
from tenure.controlplane.webhooks.targets import TargetRules, parse_target
from tenure.domain.errors import Reason, Refused
from tenure.runtime.clock import Clock
from tenure.runtime.ids import Ids
from tenure.runtime.logs import get_logger
from tenure.store.outbox import Endpoint, Secret
from tenure.store.store import Store

T = TypeVar("T")

MAX_PER_OWNER = 1000
# Secrets of an endpoint that sign at the same time; the oldest end early.
MAX_SECRETS = 4
DISABLED = "it was disabled"

log = get_logger("webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an endpoint is to be."""

    url: str
    event_types: tuple[str, ...] = ()
    disabled: bool = False


class Endpoints:
    """Knows, makes, changes and removes endpoints. What was begun is carried through even when its caller has gone.

    Args:
        store: where they are kept.
        clock: for the times of secrets.
        ids: for their ids.
        rules: which URLs are taken.
        random: gives that many random bytes, fit for secrets.
    """

    def __init__(
        self, *, store: Store, clock: Clock, ids: Ids, rules: TargetRules, random: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._random = random
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._by_id: dict[str, Endpoint] = {}
        self._by_url: dict[tuple[str, str, str], str] = {}
        self.rules = rules
        self.since = 0
        """The end of the log when the first endpoint was made: nothing up to there is announced."""
        self.changed = asyncio.Event()
        """Set when there are endpoints."""
        self.ended = asyncio.Event()
        """Set when some were removed or disabled: the outbox is to be swept."""

    async def load(self) -> None:
        """Read them; once, before anything else."""
        self._keep(await self._store.outbox.endpoints())

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint with this id."""
        return self._by_id.get(endpoint_id)

    def find(self, created_by: str, project: str, url: str) -> Endpoint | None:
        """The endpoint that an owner has with this URL."""
        return self._by_id.get(self._by_url.get((created_by, project, url), ""))

    def all(self) -> list[Endpoint]:
        """All of them, the oldest first."""
        return list(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def missing(self, urls: Collection[str], created_by: str, project: str) -> list[str]:
        """Those of these URLs that an owner has no endpoint with, each once."""
        return [url for url in dict.fromkeys(urls) if self.find(created_by, project, url) is None]

    async def ensure(self, urls: Collection[str], created_by: str, project: str) -> None:
        """Have an owner have endpoints with these URLs, which were checked.

        Raises:
            Refused: LIMIT_EXCEEDED.
            StoreError: as `Store.commit`.
        """
        if self.missing(urls, created_by, project):
            await self._to_the_end(self._ensure(urls, created_by, project))

    async def upsert(
        self, wanted: Sequence[Wanted], created_by: str, project: str
    ) -> list[tuple[Endpoint, Secret | None]]:
        """Make or change an owner's endpoints, whose URLs were checked, all or none; with each the secret it was made
        with, where it was made.

        Raises:
            Refused: LIMIT_EXCEEDED.
            StoreError: as `Store.commit`.
        """
        return await self._to_the_end(self._upsert(wanted, created_by, project))

    async def rotate(self, endpoint_id: str, overlap_us: int) -> Secret | None:
        """Give an endpoint a new secret; those it has sign so long beside it. None: there is none with this id.

        Raises:
            StoreError: as `Store.commit`.
        """
        return await self._to_the_end(self._rotate(endpoint_id, overlap_us))

    async def disable(self, endpoint_id: str, why: str) -> None:
        """Send nothing to an endpoint any more.

        Raises:
            StoreError: as `Store.commit`.
        """
        await self._to_the_end(self._disable(endpoint_id, why))

    async def remove(self, ids: Iterable[str]) -> None:
        """Forget endpoints with what waits for them.

        Raises:
            StoreError: as `Store.commit`.
        """
        await self._to_the_end(self._remove(list(ids)))

    async def _ensure(self, urls: Collection[str], created_by: str, project: str) -> None:
        async with self._lock:
            missing = self.missing(urls, created_by, project)
            if missing:
                await self._put([self._new(Wanted(url=url), created_by, project) for url in missing])

    async def _upsert(
        self, wanted: Sequence[Wanted], created_by: str, project: str
    ) -> list[tuple[Endpoint, Secret | None]]:
        async with self._lock:
            done: list[tuple[Endpoint, Secret | None]] = []
            for one in wanted:
                known = self.find(created_by, project, one.url)
                if known is None:
                    made = self._new(one, created_by, project)
                    done.append((made, made.secrets[0]))
                else:
                    disabled = (known.disabled or DISABLED) if one.disabled else ""
                    done.append((replace(known, event_types=one.event_types, disabled=disabled), None))
            await self._put([endpoint for endpoint, _ in done if endpoint != self.get(endpoint.id)])
            return done

    async def _rotate(self, endpoint_id: str, overlap_us: int) -> Secret | None:
        async with self._lock:
            endpoint = self.get(endpoint_id)
            if endpoint is None:
                return None
            now_us = self._clock.wall_us()
            until_us = now_us + overlap_us
            older = [
                secret
                if secret.until_us is not None and secret.until_us < until_us
                else replace(secret, until_us=until_us)
                for secret in endpoint.secrets
            ]
            older = [secret for secret in older if secret.until_us is not None and secret.until_us > now_us]
            secret = self._secret(now_us)
            await self._put([replace(endpoint, secrets=(*older[-(MAX_SECRETS - 1) :], secret))])
            return secret

    async def _disable(self, endpoint_id: str, why: str) -> None:
        async with self._lock:
            endpoint = self.get(endpoint_id)
            if endpoint is not None and not endpoint.disabled:
                await self._put([replace(endpoint, disabled=why)])
                log.warning("webhook_disabled", webhook_id=endpoint_id, why=why)

    async def _remove(self, ids: list[str]) -> None:
        async with self._lock:
            await self._store.outbox.remove_endpoints(ids)
            self.ended.set()
            for endpoint_id in ids:
                endpoint = self._by_id.pop(endpoint_id, None)
                if endpoint is not None:
                    self._by_url.pop((endpoint.created_by, endpoint.project, endpoint.url), None)
            if not self._by_id:
                self.changed.clear()

    def _new(self, wanted: Wanted, created_by: str, project: str) -> Endpoint:
        now_us = self._clock.wall_us()
        return Endpoint(
            id=self._ids.new(),
            url=wanted.url,
            host=parse_target(wanted.url, self.rules).host,
            created_by=created_by,
            project=project,
            event_types=wanted.event_types,
            disabled=DISABLED if wanted.disabled else "",
            created_us=now_us,
            secrets=(self._secret(now_us),),
        )

    def _secret(self, now_us: int) -> Secret:
        return Secret(value=self._random(SECRET_BYTES), made_us=now_us)

    async def _put(self, endpoints: list[Endpoint]) -> None:
        if not endpoints:
            return
        new = [endpoint for endpoint in endpoints if endpoint.id not in self._by_id]
        if new:
            owner = (new[0].created_by, new[0].project)
            has = sum((one.created_by, one.project) == owner for one in self._by_id.values())
            if has + len(new) > MAX_PER_OWNER:
                text = f"an owner has at most {MAX_PER_OWNER} webhooks: remove some, or let jobs share one URL"
                raise Refused(Reason.LIMIT_EXCEEDED, text)
        # While nobody listens the log is not looked through; it is from here on.
        since = 0 if self._by_id else self._store.head().position
        await self._store.outbox.put_endpoints(endpoints, since, self._clock.wall_us())
        self.since = max(self.since, since)
        if any(endpoint.disabled for endpoint in endpoints):
            self.ended.set()
        self._keep(endpoints)

    def _keep(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            self._by_id[endpoint.id] = endpoint
            self._by_url[endpoint.created_by, endpoint.project, endpoint.url] = endpoint.id
        if self._by_id:
            self.changed.set()

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        # The store finishes what it was given whether anybody waits or not, and memory has to know the same.
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it
