"""The browser, and whether it is there: playwright, which drives it, and Chromium itself."""

from __future__ import annotations

import os
import shutil

try:
    from playwright.async_api import async_playwright
except ImportError:
    async_playwright = None

__all__ = ["FLAGS", "async_playwright", "executable", "missing"]

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


def executable() -> str | None:
    """Path of the browser: TENURE_CHROMIUM, or the first that is on the PATH."""
    named = os.environ.get("TENURE_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def missing() -> str:
    """What the tests of the page need and is not there; empty: nothing."""
    if async_playwright is None:
        return "playwright is not installed (pip install --require-hashes -r requirements/browser.txt)"
    if executable() is None:
        return "there is no Chromium (apt install chromium, or TENURE_CHROMIUM=/path/to/it)"
    return ""
