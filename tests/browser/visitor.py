"""Somebody who uses the page: a browser with a context of its own, and everything its console has said."""

from __future__ import annotations

import re
from typing import Any

PATIENCE_MS = 20_000
# Chromium says it of every answer that is an error, as expected as that answer may be.
EXPECTED = "Failed to load resource"


class Visitor:
    """A visitor of the page at an address.

    Args:
        browser: playwright's.
        url: where the page is.
        token: for signing in.
    """

    def __init__(self, browser: Any, url: str, token: str) -> None:
        self._browser = browser
        self.token = token
        self._context: Any = None
        self.url = url
        self.page: Any = None
        self.complaints: list[str] = []

    async def arrive(self, *, width: int = 1280, height: int = 800, scheme: str = "light", cookies: Any = None) -> None:
        """Open the page in a browser that has never seen it, in place of the one before."""
        if self._context is not None:
            await self._context.close()
        self._context = await self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale="en-GB",
            timezone_id="UTC",
            reduced_motion="reduce",
            storage_state=cookies,
        )
        self._context.set_default_timeout(PATIENCE_MS)
        self.page = await self._context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        await self.page.goto(self.url)

    async def sign_in(self, token: str | None = None) -> None:
        """Sign in and see the jobs."""
        await self.page.get_by_label("Token").fill(self.token if token is None else token)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("heading", name="Jobs", exact=True).wait_for()

    async def go(self, address: str) -> None:
        """Go to a view by its address, as in `jobs?state=…`."""
        await self.page.evaluate("address => { location.hash = address }", f"#/{address}")

    async def submit(self, command: str, **fields: str) -> str:
        """Submit a job through the form; its id. Fields are named by their labels, `_` for a space."""
        await self.go("submit")
        await self.page.get_by_label("Command line").fill(command)
        for name, value in fields.items():
            label = name.replace("_", " ")
            if not await self.page.get_by_label(label, exact=True).is_visible():
                await self.page.get_by_text("More", exact=True).click()
            await self.page.get_by_label(label, exact=True).fill(value)
        await self.page.get_by_role("button", name="Submit", exact=True).click()
        await self.page.wait_for_url("**/#/jobs/*")
        return str(self.page.url).rsplit("/", 1)[1]

    async def state(self) -> str:
        """The state that the page of a job shows."""
        return str(await self.page.locator(".state .pill").inner_text())

    async def sees_state(self, *words: str) -> None:
        """Wait until the page of a job shows one of these states."""
        await self.page.locator(".state .pill", has_text=_either(words)).wait_for()

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(await self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    async def leave(self) -> None:
        """Close everything.

        Raises:
            AssertionError: the page complained: a violation of its policy, an exception, a warning.
        """
        await self._context.close()
        assert self.complaints == []

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and EXPECTED not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")


def _either(words: tuple[str, ...]) -> Any:
    return re.compile("|".join(re.escape(word) for word in words))
