from __future__ import annotations

import io

from rich.console import Console

from tenure.cli.grid import Cell, Grid, plain_lines, rich_table


def example() -> Grid:
    grid = Grid(columns=("ID", ">COUNT", "TEXT"), title="Things")
    grid.add("a", "1", Cell(text="[red]no markup[/red]", style="green"))
    grid.add("bbbbbbbb", "200", "")
    return grid


def test_plain_text_is_aligned_and_never_cut() -> None:
    assert plain_lines(example()) == [
        "Things",
        "ID        COUNT  TEXT",
        "a             1  [red]no markup[/red]",
        "bbbbbbbb    200",
    ]
    long = Grid(columns=("A",))
    long.add("x" * 500)
    assert plain_lines(long)[1] == "x" * 500


def test_an_empty_table_has_its_headings() -> None:
    assert plain_lines(Grid(columns=("A", "B"))) == ["A  B"]


def test_on_a_terminal_markup_in_data_is_data() -> None:
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True).print(rich_table(example(), 80))
    assert "[red]no markup[/red]" in file.getvalue()


def test_on_a_terminal_ids_are_whole_and_empty_columns_are_left_out() -> None:
    grid = Grid(columns=("ID", "NAME", "EMPTY", "CREATED"))
    grid.add("i" * 36, "n" * 60, "", Cell(text="2021-10-04 06:42:56Z", short="5h 0m ago"))
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True, color_system=None).print(rich_table(grid, 80))
    shown = file.getvalue()
    assert "i" * 36 in shown
    assert "5h 0m ago" in shown
    assert "EMPTY" not in shown
    assert "…" in shown
