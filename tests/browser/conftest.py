"""A server, a worker and a browser, all real: `tenure serve --http`, `tenure worker`, and Chromium without a screen.

Without playwright or Chromium none of these tests is there but test_available.py, which says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.chromium import FLAGS, async_playwright, executable, missing
from tests.browser.house import House
from tests.browser.visitor import Visitor

# One line says why, in test_available.py, instead of one a test.
collect_ignore = [
    path.name for path in Path(__file__).parent.glob("test_*.py") if missing() and path.name != "test_available.py"
]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """The server and its worker."""
    opened = House(tmp_path_factory.mktemp("house"))
    try:
        await opened.open()
        yield opened
    finally:
        opened.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    """Chromium."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
        yield opened
        await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(house: House, browser: Any) -> AsyncIterator[Visitor]:
    """Somebody in front of an empty browser, not signed in; afterwards nothing may have gone wrong in the page."""
    somebody = Visitor(browser, house.url, house.token)
    await somebody.arrive()
    yield somebody
    await somebody.leave()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cookies(house: House, browser: Any) -> Any:
    """What a browser keeps of somebody who has signed in with the administrator's token."""
    somebody = Visitor(browser, house.url, house.token)
    await somebody.arrive()
    await somebody.sign_in()
    kept = await somebody.page.context.storage_state()
    await somebody.leave()
    return kept


@pytest_asyncio.fixture(loop_scope="session")
async def admin(house: House, browser: Any, cookies: Any) -> AsyncIterator[Visitor]:
    """Somebody who has signed in with the administrator's token and sees the jobs."""
    somebody = Visitor(browser, house.url, house.token)
    await somebody.arrive(cookies=cookies)
    await somebody.page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    yield somebody
    await somebody.leave()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(house: House, browser: Any) -> AsyncIterator[Any]:
    """A page that is not signed in, for calling modules in."""
    somebody = Visitor(browser, house.url, house.token)
    await somebody.arrive()
    yield somebody.page
    await somebody.leave()
