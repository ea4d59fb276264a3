"""Names instead of numbers in the ids of parametrised tests."""

from __future__ import annotations

from enum import Enum

import pytest


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """The name of a member of an enum or of a class; None leaves it to pytest."""
    if isinstance(val, Enum):
        return val.name
    return val.__name__ if isinstance(val, type) else None
