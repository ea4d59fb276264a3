"""Whole numbers in parameters, as digits and nothing else."""

from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from tenure.runtime.calls import CallFailed
from tenure.web.parameters import Parameters


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("-5", -5), ("007", 7), ("2147483647", 2**31 - 1)])
def test_a_number(text: str, number: int) -> None:
    assert Parameters(QueryParams([("n", text)])).whole("n", least=-5) == number


@pytest.mark.parametrize(
    "text", [" 1", "1 ", "+1", "1_000", "1.0", "1e3", "--1", "-", "x", "\N{FULLWIDTH DIGIT ONE}", "9" * 5000, "-6"]
)
def test_what_is_no_number(text: str) -> None:
    parameters = Parameters(QueryParams([("n", text)]))
    assert parameters.whole("n", least=-5) is None
    with pytest.raises(CallFailed, match="n: must be a whole number from -5 to 2147483647"):
        parameters.check()
