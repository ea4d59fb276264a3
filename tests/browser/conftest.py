"""A server, a worker and a browser, all real: `tenure serve --http`, `tenure worker`, and Chromium without a screen.

Without playwright or Chromium the tests are skipped, in one clear line; with TENURE_BROWSER=required they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.house import House
from tests.browser.visitor import Visitor

try:
    from playwright.async_api import async_playwright
except ImportError:
    async_playwright = None

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox, as root has none; and nothing that asks the outside world for anything.
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)


def chromium() -> str | None:
    """Path of the browser: TENURE_CHROMIUM, or the first that is on the PATH."""
    named = os.environ.get("TENURE_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def missing() -> str:
    """What the tests of the page need and is not there; empty: nothing."""
    if async_playwright is None:
        return "playwright is not installed (pip install --require-hashes -r requirements/browser.txt)"
    if chromium() is None:
        return "there is no Chromium (apt install chromium, or TENURE_CHROMIUM=/path/to/it)"
    return ""


@pytest.fixture(scope="session", autouse=True)
def _needs() -> None:
    """Skip, or fail where a skip is not taken for an answer."""
    reason = missing()
    if reason and os.environ.get("TENURE_BROWSER") == "required":
        pytest.fail(f"the web page cannot be tested: {reason}")
    if reason:
        pytest.skip(f"the web page is not tested: {reason}")


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
        opened = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
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
