"""Pages of jobs: a filter and an order → SQL that looks at no more rows than it has to.

Which index leads depends on the filter: ids; the live jobs, when only live states are wanted; the owner's; else all
jobs in the order of creation. CROSS JOIN fixes the order of the tables, because without statistics SQLite guesses.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from tenure.domain.states import State
from tenure.projections.jobs import STATES
from tenure.store.matching import NEVER
from tenure.store.sqlite_reads import JOB_COLUMNS, JobRow, Reads
from tenure.store.sqlite_rows import label_text
from tenure.store.sqlite_schema import rows
from tenure.store.store import JobFilter, JobOrder

_LIVE = frozenset({State.IN_QUEUE, State.RUNNING, State.CANCELING})
_HELD = frozenset({State.RUNNING, State.CANCELING})

Value = str | int
Key = tuple[int, int]


class _Part(NamedTuple):
    """A piece of a WHERE clause with its values."""

    sql: str
    values: tuple[Value, ...] = ()


def browse(reads: Reads, wanted: JobFilter, order: JobOrder, after: Key | None, limit: int) -> list[tuple[JobRow, Key]]:
    """The rows of a page with their keys, and of one more job where it is not the last."""
    if wanted.ids is not None and not wanted.ids:
        return []
    found: list[tuple[JobRow, Key]] = []
    if order.expires and (after is None or after[0] < NEVER):
        found = _expiring(reads, wanted, order, after, limit + 1)
        after = None
    if len(found) <= limit:
        found += _by_number(reads, wanted, order, after, limit + 1 - len(found))
    return found[: limit + 1]


def _expiring(
    reads: Reads, wanted: JobFilter, order: JobOrder, after: Key | None, limit: int
) -> list[tuple[JobRow, Key]]:
    """Jobs that have an end of their time, by it. Only live ones have, so only those are looked at."""
    sign = -1 if order.descending else 1
    parts = [_Part("j.twin IS NOT NULL"), _Part("j.expires_us IS NOT NULL"), *_parts(wanted)]
    if after is not None:
        parts.append(_Part(f"({sign} * j.expires_us, {sign} * j.number) > (?, ?)", after))
    sql, values = _select("jobs j INDEXED BY jobs_live CROSS JOIN origins o ON o.number = j.number", parts)
    place = f"{sign} * j.expires_us, {sign} * j.number"
    found = rows(reads.connection, f"{sql} ORDER BY {place} LIMIT ?", (*values, limit))
    return [(JobRow(*row), (sign * expires_us, sign * row[1])) for *row, expires_us in found]


def _by_number(
    reads: Reads, wanted: JobFilter, order: JobOrder, after: Key | None, limit: int
) -> list[tuple[JobRow, Key]]:
    """Jobs in the order of creation; with an order by time, only those that never expire."""
    sign = -1 if order.descending else 1
    parts = _parts(wanted)
    if order.expires:
        parts.append(_Part("j.expires_us IS NULL"))
    direction, beyond = ("DESC", "<") if order.descending else ("ASC", ">")
    branches: list[tuple[str, list[Value]]] = []
    for source, extra in _sources(wanted):
        # The number of the table that leads, whose index is in this order.
        number = f"{source.split(maxsplit=2)[1]}.number"
        place = [_Part(f"{number} {beyond} ?", (sign * after[1],))] if after is not None else []
        sql, values = _select(source, [*parts, *extra, *place])
        branch = f"SELECT * FROM ({sql} ORDER BY {number} {direction} LIMIT ?)"  # noqa: S608
        branches.append((branch, [*values, limit]))
    # Each branch is in order and short, so that putting them together costs nothing.
    inner = " UNION ".join(sql for sql, _ in branches)
    values = [value for _, values in branches for value in values]
    found = rows(reads.connection, f"{inner} ORDER BY 2 {direction} LIMIT ?", (*values, limit))
    return [(JobRow(*row), (NEVER if order.expires else 0, sign * row[1])) for *row, _ in found]


def _sources(wanted: JobFilter) -> list[tuple[str, list[_Part]]]:
    """The tables in the order in which they are looked at, and what limits each to the jobs that may be seen."""
    owner: list[list[_Part]] = [[]]
    if wanted.visible_to is not None:
        subject, project = wanted.visible_to
        owner = [[_Part("o.created_by = ?", (subject,))]]
        if project:
            owner.append([_Part("o.project = ?", (project,)), _Part("o.project <> ''")])
    if wanted.ids is not None:
        source = "origins o CROSS JOIN jobs j ON j.number = o.number"
        return [(source, [*extra, _ids(wanted.ids)]) for extra in owner]
    if wanted.states and wanted.states <= _LIVE:
        index, column = ("jobs_leased", "leased") if wanted.states <= _HELD else ("jobs_live", "twin")
        source = f"jobs j INDEXED BY {index} CROSS JOIN origins o ON o.number = j.number"
        return [(source, [*extra, _Part(f"j.{column} IS NOT NULL")]) for extra in owner]
    indexes = ["origins_by_owner", "origins_by_project"]
    if wanted.visible_to is None:
        if not wanted.created_by:
            return [("jobs j CROSS JOIN origins o ON o.number = j.number", [])]
        indexes = ["origins_by_owner"]
    return [
        (f"origins o INDEXED BY {index} CROSS JOIN jobs j ON j.number = o.number", extra)
        for index, extra in zip(indexes, owner, strict=False)
    ]


def _ids(ids: frozenset[str]) -> _Part:
    return _Part("o.id IN (SELECT value FROM json_each(?))", (json.dumps(sorted(ids)),))


def _parts(wanted: JobFilter) -> list[_Part]:
    """What a row must be, whatever leads to it."""
    parts: list[_Part] = []
    if wanted.states:
        numbers = ", ".join(str(STATES[state]) for state in sorted(wanted.states))
        parts.append(_Part(f"j.state IN ({numbers})"))
    exact = (
        ("o.created_by = ?", wanted.created_by),
        ("j.queue = ?", wanted.queue),
        ("o.application = ?", wanted.application),
        ("o.product_id = ?", wanted.product_id),
        ("o.product_category = ?", wanted.product_category),
        ("o.product_provider = ?", wanted.product_provider),
        ("o.product_id <> ?", wanted.hide_product_id),
        ("o.product_category <> ?", wanted.hide_product_category),
        ("o.product_provider <> ?", wanted.hide_product_provider),
    )
    parts += [_Part(sql, (value,)) for sql, value in exact if value]
    if wanted.created_after_us is not None:
        parts.append(_Part("o.created_us >= ?", (wanted.created_after_us,)))
    if wanted.created_before_us is not None:
        parts.append(_Part("o.created_us < ?", (wanted.created_before_us,)))
    parts += [_Part("instr(o.labels, ?) > 0", (label_text(label),)) for label in wanted.labels]
    return parts


def _select(source: str, parts: list[_Part]) -> tuple[str, list[Value]]:
    where = " AND ".join(part.sql for part in parts) or "1"
    sql = f"SELECT {JOB_COLUMNS}, j.expires_us FROM {source} WHERE {where}"  # noqa: S608
    return sql, [value for part in parts for value in part.values]
