"""Bugs of what is durable: acknowledged too early, seen too early, forgotten by a restart."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from tenure.controlplane.assignments import assignment_of, size_of
from tenure.controlplane.changes import Executed, RequestKey, replay
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.job import evolve
from tenure.domain.states import Phase
from tenure.projections.jobs import are_twins
from tenure.store.store import (
    AnsweredRequest,
    CommitOutcomeUnknown,
    Committed,
    DuplicateSpecification,
    RequestAnswered,
    StoreError,
    Unit,
)
from tests.simulation.planted.planting import Edit, Planted

_HANDLER = "tenure.controlplane.handler:Handler."
_MEMORY = "tenure.store.memory:MemoryStore."
_DISPATCHER = "tenure.controlplane.dispatcher:Dispatcher."
_COMMIT = "committed = await self._store.commit(\n"
_promised: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_burned: WeakKeyDictionary[Any, set[tuple[str, str, str]]] = WeakKeyDictionary()
_answers: WeakKeyDictionary[Any, dict[tuple[str, str, str], AnsweredRequest]] = WeakKeyDictionary()


async def _not_waiting(store: Any, unit: Unit) -> Committed:
    """Hand a unit to the store and say at once that it is written."""
    if (request := unit.request) is not None:
        known = await store.find_request(request.principal, request.rpc, request.request_id)
        if known is not None:
            raise RequestAnswered(known)
    first = max(_promised.get(store, 0), store.head().position) + 1
    last = _promised[store] = first - 1 + sum(len(append.events) for append in unit.appends)
    task = asyncio.ensure_future(store.commit(unit))
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return Committed(first=first, last=last)


def _burn(handler: Any, request: RequestKey | None) -> None:
    if request is not None:
        _burned.setdefault(handler, set()).add((request.principal, request.rpc, request.request_id))


def _refuse_burned(handler: Any, request: RequestKey) -> None:
    if (request.principal, request.rpc, request.request_id) in _burned.get(handler, ()):
        raise Refused(Reason.REQUEST_ID_REUSED, "the request id was used for another request", field="request_id")


def _recall(handler: Any, request: RequestKey | None) -> AnsweredRequest | None:
    if request is None:
        return None
    return _answers.get(handler, {}).get((request.principal, request.rpc, request.request_id))


def _remember(handler: Any, request: RequestKey | None, body: bytes, position: int) -> None:
    if request is not None:
        known = AnsweredRequest(digest=request.digest, answer=body, position=position)
        _answers.setdefault(handler, {})[request.principal, request.rpc, request.request_id] = known


def _recalled(handler: Any, request: RequestKey | None) -> Executed | None:
    known = _recall(handler, request)
    return replay(request, known) if known is not None and request is not None else None


def _cached_twin(handler: Any, made: tuple[Any, ...], appends: list[Any]) -> None:
    """Refuse a duplicate of what is in the process's memory."""
    for index, append in enumerate(appends, len(made)):
        for job in handler._cache.values():
            if not append.job.origin.allow_duplicate and are_twins(job.origin, append.job.origin):
                raise DuplicateSpecification(index, job.id)


def _send_at_once(dispatcher: Any, chosen: list[Any]) -> None:
    """Send assignments that are not written down yet."""
    for one in chosen:
        job, session = one.ready.job, one.worker.session
        if job.phase is not Phase.QUEUED or session is None:
            continue
        event = e.JobAssigned(
            lease_id=one.lease_id,
            attempt=job.attempt + 1,
            worker_id=one.worker.id,
            lease_us=2 * job.origin.terms.heartbeat_interval_us,
        )
        assigned = evolve(job, event, job.last_us)
        live = dispatcher._leases._make(assigned, assigned.lease)
        specification = one.ready.specification or b""
        session.outbox.assign(assignment_of(assigned, live, specification), size_of(assigned, specification))
        session.flush()


BUGS = (
    Planted(
        name="acknowledge-before-commit",
        sentence="A change is acknowledged once the store has it in hand, before it is on disk.",
        caught_by=frozenset({"acknowledged-is-durable", "nothing-unflushed-is-visible"}),
        seeds=50,
        edits=(
            Edit(
                where=_HANDLER + "_commit",
                swaps=((_COMMIT, "committed = await not_waiting(self._store,\n"),),
                names={"not_waiting": _not_waiting},
            ),
            Edit(
                where=_HANDLER + "_create",
                swaps=(("await self._store.commit(Unit(", "await not_waiting(self._store, Unit("),),
                names={"not_waiting": _not_waiting},
            ),
        ),
    ),
    Planted(
        name="idempotency-in-memory",
        sentence="Answers by request id are kept in the process's memory: a restart forgets them.",
        caught_by=frozenset({"one-outcome-a-request"}),
        seeds=200,
        edits=(
            Edit(
                where=_MEMORY + "_commit",
                swaps=(
                    (
                        "known = self._requests.get((request.principal, request.rpc, request.request_id))",
                        "known = None",
                    ),
                ),
            ),
            Edit(
                where=_HANDLER + "answered",
                swaps=(
                    (
                        "known = await self._store.find_request(request.principal, request.rpc, request.request_id)",
                        "known = recall(self, request)",
                    ),
                ),
                names={"recall": _recall},
            ),
            Edit(
                where=_HANDLER + "_create",
                swaps=(
                    (
                        "    now_us = self._clock.wall_us()\n",
                        "    if (again := recalled(self, request)) is not None:\n        return again\n"
                        "    now_us = self._clock.wall_us()\n",
                    ),
                    (
                        "    self._tell({}, appends, ",
                        "    remember(self, request, body, committed.last)\n    self._tell({}, appends, ",
                    ),
                ),
                names={"recalled": _recalled, "remember": _remember},
            ),
            Edit(
                where=_HANDLER + "_commit",
                swaps=(
                    (
                        "    self._tell(decided.before, appends, ",
                        "    remember(self, request, body, committed.last)\n    self._tell(decided.before, appends, ",
                    ),
                ),
                names={"remember": _remember},
            ),
        ),
    ),
    Planted(
        name="continue-after-failed-fsync",
        sentence="A failed fsync is taken for a commit that did not happen, and the process goes on.",
        caught_by=frozenset(
            {
                "acknowledged-is-durable",
                "nothing-unflushed-is-visible",
                "events-are-legal",
                "positions-are-dense",
                "state-is-the-fold",
                "goes-on",
                "refusals-are-right",
                "log-only-grows",
                "nothing-after-a-failed-fsync",
            }
        ),
        seeds=200,
        edits=(
            Edit(
                where=_MEMORY + "_write",
                swaps=(
                    (
                        "self._broken = self._broken or isinstance(error, CommitOutcomeUnknown)",
                        "error = StoreError(str(error)) if isinstance(error, CommitOutcomeUnknown) else error",
                    ),
                ),
                names={"CommitOutcomeUnknown": CommitOutcomeUnknown, "StoreError": StoreError},
            ),
        ),
    ),
    Planted(
        name="reply-from-unflushed-state",
        sentence="What is being written is already seen by readers before it is on disk.",
        caught_by=frozenset({"nothing-unflushed-is-visible"}),
        seeds=50,
        edits=(
            Edit(
                where=_MEMORY + "_commit",
                swaps=(
                    ("    await self._disk.flush(len(recorded))\n", ""),
                    ("    return Committed(", "    await self._disk.flush(len(recorded))\n    return Committed("),
                ),
            ),
        ),
    ),
    Planted(
        name="cache-ahead-of-the-log",
        sentence="The cache of jobs takes over what was decided before it is written, and keeps it when that fails.",
        caught_by=frozenset({"acknowledged-is-durable", "state-is-the-fold", "nothing-unflushed-is-visible"}),
        seeds=200,
        edits=(
            Edit(
                where=_HANDLER + "_commit",
                swaps=(
                    (
                        "    " + _COMMIT,
                        "    self._cache.update({append.job.id: append.job for append in appends})\n    " + _COMMIT,
                    ),
                ),
            ),
        ),
    ),
    Planted(
        name="assignment-before-commit",
        sentence="An assignment is sent to the worker before it is on disk.",
        caught_by=frozenset({"nothing-unflushed-is-visible"}),
        seeds=50,
        edits=(
            Edit(
                where=_DISPATCHER + "_give_out",
                swaps=(
                    (
                        "        executed = await self._handler.execute(",
                        "        send_at_once(self, chosen)\n        executed = await self._handler.execute(",
                    ),
                ),
                names={"send_at_once": _send_at_once},
            ),
        ),
    ),
    Planted(
        name="request-id-kept-on-refusal",
        sentence="A refused call uses up its request id.",
        caught_by=frozenset({"one-outcome-a-request"}),
        seeds=50,
        edits=(
            Edit(
                where=_HANDLER + "_execute",
                swaps=(
                    (
                        "                await self._commit_overdue(jobs)\n",
                        "                await self._commit_overdue(jobs)\n                burn(self, request)\n",
                    ),
                ),
                names={"burn": _burn},
            ),
            Edit(
                where=_HANDLER + "answered",
                swaps=(("    known = await", "    refuse_burned(self, request)\n    known = await"),),
                names={"refuse_burned": _refuse_burned},
            ),
        ),
    ),
    Planted(
        name="duplicates-checked-in-memory",
        sentence="Duplicates are looked for among the jobs that this process remembers, not in the commit.",
        caught_by=frozenset({"no-duplicates"}),
        seeds=50,
        edits=(
            Edit(where=_MEMORY + "_commit", swaps=(("    self._refuse_duplicates(unit)\n", ""),)),
            Edit(
                where=_HANDLER + "_create",
                swaps=(
                    (
                        "            stored = stored_request(",
                        "            cached_twin(self, made, appends)\n            stored = stored_request(",
                    ),
                ),
                names={"cached_twin": _cached_twin},
            ),
        ),
    ),
    Planted(
        name="twins-kept-after-the-end",
        sentence="A job that has ended still counts as a duplicate of a new one.",
        caught_by=frozenset({"refusals-are-right"}),
        seeds=500,
        edits=(
            Edit(
                where="tenure.store.memory_rows:MemoryRows.apply",
                swaps=(
                    (
                        "        del twins[name]\n        if not twins:\n"
                        "            del self._twins[twin_of(job.origin)]\n",
                        "        assert twins\n",
                    ),
                ),
            ),
        ),
    ),
)
