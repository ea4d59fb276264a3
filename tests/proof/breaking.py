"""A hook of pytest: the failure of a test of a proof goes into that proof's record, with its reason.

A proof that breaks after an hour (a wait that was too short, a process that did not start) has settled nothing. Without
this its reason would be gone with the screen, and an older record of it would stand in the report.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.proof.record import ROOT, broke

_NAME = re.compile(r"""\bProof\(\s*name="([a-z0-9-]+)\"""")
_OURS = re.compile(r"^from (tests\.[\w.]+) import", re.MULTILINE)


def proofs_in(source: str) -> list[str]:
    """The names of the proofs that a piece of code settles."""
    return _NAME.findall(source)


def proofs_of(test: pytest.Item) -> list[str]:
    """The proofs that a test is part of: those it settles, or else those of its file, or of what that is made of."""
    function = getattr(test, "function", None)
    own = proofs_in(inspect.getsource(function)) if function is not None else []
    if own:
        return own
    source = Path(test.path).read_text(encoding="utf-8")
    parts = [ROOT / (module.replace(".", "/") + ".py") for module in _OURS.findall(source)]
    return proofs_in(source) or [
        name for part in parts if part.is_file() for name in proofs_in(part.read_text(encoding="utf-8"))
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell the proofs of a test that it has failed."""
    report = yield
    if report.failed:
        for name in proofs_of(item):
            broke(name, item.name, report.longreprtext)
    return report
