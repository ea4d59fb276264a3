"""Rows and columns, drawn by rich on a terminal and as plain aligned text elsewhere.

Plain text is never cut or wrapped, so that a pipe gets whole ids and messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenure.cli.session import Session

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


# On a terminal the text of these columns may go over several lines; of the others, these are whole and the rest is cut
# where there is no room.
_PROSE = frozenset(("UPDATE", "MESSAGE", "NOTES", "FEATURES", "JOBS", "LABELS", "LAST"))
_WHOLE = frozenset(("ID", "STATE", "TIME", "CREATED", "EXPIRES", "DEADLINE"))
_LEAST = 8
_GAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One field of a table.

    Attributes:
        text: already clean.
        style: how it is coloured on a terminal.
        short: what a terminal shows instead; empty: the text.
    """

    text: str
    style: str = ""
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table.

    Attributes:
        columns: headings; one that starts with `>` is aligned right.
        rows: as many cells each.
        title: above it; empty: none.
    """

    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    title: str = ""

    def add(self, *cells: str | Cell) -> None:
        """Add a row."""
        self.rows.append([each if isinstance(each, Cell) else Cell(text=each) for each in cells])


def draw(session: Session, *grids: Grid) -> None:
    """Print tables, one below the other."""
    for number, grid in enumerate(grids):
        if number:
            session.write()
        if session.fancy:
            session.console().print(rich_table(grid, session.console().width))
        else:
            for line in plain_lines(grid):
                session.write(line)


def plain_lines(grid: Grid) -> list[str]:
    """The table as text, columns two spaces apart."""
    headings = [column.removeprefix(">") for column in grid.columns]
    body = [[cell.text for cell in row] for row in grid.rows]
    widths = [max(map(len, column)) for column in zip(headings, *body, strict=True)]
    lines = [grid.title] if grid.title else []
    for row in (headings, *body):
        cells = [
            text.rjust(width) if column.startswith(">") else text.ljust(width)
            for text, width, column in zip(row, widths, grid.columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def rich_table(grid: Grid, width: int) -> Table:
    """The table as rich draws it on a screen of so many columns."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    # A screen is narrow: a column in which nothing stands is left out.
    used = [index for index, _ in enumerate(grid.columns) if not index or any(row[index].text for row in grid.rows)]
    headings = [grid.columns[index].removeprefix(">") for index in used]
    widths = [
        max([len(heading), *(cell_len(row[index].short or row[index].text) for row in grid.rows)])
        for heading, index in zip(headings, used, strict=True)
    ]
    _fit(widths, [heading not in _WHOLE for heading in headings], width - _GAP * len(used))
    table = Table(
        box=box.SIMPLE_HEAD,
        title=grid.title or None,
        title_justify="left",
        title_style="bold",
        padding=(0, _GAP - 1, 0, 0),
        pad_edge=False,
    )
    for heading, index, own in zip(headings, used, widths, strict=True):
        table.add_column(
            heading,
            justify="left" if heading == grid.columns[index] else "right",
            overflow="fold" if heading in _PROSE else "ellipsis",
            no_wrap=heading not in _PROSE,
            width=own,
        )
    for row in grid.rows:
        table.add_row(*(rich_text(row[index]) for index in used))
    return table


def _fit(widths: list[int], flexible: list[bool], room: int) -> None:
    """Make the widest flexible column narrower until all fit, or none is left that can be."""
    while sum(widths) > room:
        widest = max((width for width, bends in zip(widths, flexible, strict=True) if bends), default=0)
        if widest <= _LEAST:
            return
        index = next(i for i, width in enumerate(widths) if flexible[i] and width == widest)
        widths[index] -= 1


def rich_text(cell: Cell) -> Text:
    """A cell without markup."""
    from rich.text import Text

    return Text(cell.short or cell.text, style=cell.style)
