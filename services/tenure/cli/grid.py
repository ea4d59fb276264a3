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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Text, already clean, and how it is coloured."""

    text: str
    style: str = ""


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
            session.console().print(rich_table(grid))
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


def rich_table(grid: Grid) -> Table:
    """The table as rich draws it."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=grid.title or None, title_justify="left", title_style="bold")
    for column in grid.columns:
        # Ids are copied from the screen: they are not to be broken where anything else can be.
        table.add_column(
            column.removeprefix(">"),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
            no_wrap=column in ("ID", "JOB"),
        )
    for row in grid.rows:
        table.add_row(*(rich_text(cell) for cell in row))
    return table


def rich_text(cell: Cell) -> Text:
    """A cell without markup."""
    from rich.text import Text

    return Text(cell.text, style=cell.style)
