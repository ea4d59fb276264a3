"""The catalogue of bad input: each case sent to a real server, and the one right answer to it.

Whatever comes in: the right code and reason, no event, never UNKNOWN or INTERNAL, no word of the inside, and the next
good call works.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from tests.hostile.catalogue import Case
from tests.hostile.catalogue_rows import CASES
from tests.hostile.judge import found_wrong
from tests.hostile.scene import Scene, open_scene

violations: list[str] = []
seconds: list[float] = []


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path_factory.mktemp("bad-input") / "data") as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_bad_input(scene: Scene, case: Case) -> None:
    began = time.monotonic()
    scene.mark()
    outcome = await case.send(scene)
    wrong = found_wrong(case, outcome, written=scene.written, well=await scene.is_well())
    seconds.append(time.monotonic() - began)
    violations.extend(f"{case.id}: {each}" for each in wrong)
    assert not wrong
