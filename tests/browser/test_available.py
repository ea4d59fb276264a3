"""Whether the page can be tested here. With TENURE_BROWSER=required that is no question."""

from __future__ import annotations

import os

import pytest

from tests.browser.chromium import missing


def test_the_page_can_be_tested() -> None:
    reason = missing()
    if reason and os.environ.get("TENURE_BROWSER") == "required":
        pytest.fail(f"the web page cannot be tested: {reason}")
    if reason:
        pytest.skip(f"the web page is not tested: {reason}")
