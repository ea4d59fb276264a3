"""Reading the log page by page comes to an end, whatever the database gives."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.store.decoding import DecodeError
from tenure.store.replay import event_pages


class Damaged:
    """A database whose index leads to rows in another order, again and again."""

    def __init__(self, *positions: int) -> None:
        self._positions = positions

    def execute(self, sql: str, values: tuple[int, int, int]) -> Any:
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [(position, 1, 1, 1, 0, b"") for position in self._positions]


@pytest.mark.parametrize("positions", [(1, 2, 2), (3, 1, 2), (1, 2)])
def test_positions_out_of_order_are_refused(positions: tuple[int, ...]) -> None:
    pages = event_pages(Damaged(*positions), 100)  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match="after position"):
        for _ in zip(range(3), pages, strict=False):
            pass
