"""Answers that come late: whatever the server said since stays on the page."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.waiting import eventually
from tests.browser.gate import Gate
from tests.browser.visitor import PATIENCE_MS, Visitor

pytestmark = pytest.mark.processes


class Held:
    """One answer of the server, kept from the page: read at once, given to the page when it is let go.

    Args:
        page: the page that asks.
        address: which request, as playwright matches it; the first one from now on.
    """

    def __init__(self, page: Any, address: str) -> None:
        self._page = page
        self._address = address
        self._came = asyncio.Event()
        self._go = asyncio.Event()
        self.asked = asyncio.Event()

    async def begin(self) -> None:
        """Take the next one."""
        await self._page.route(self._address, self._hold)

    async def read(self) -> None:
        """Wait until the server has given it."""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            await self._came.wait()

    async def be_taken(self) -> None:
        """Give it to the page, and wait until the page has taken it."""
        async with self._page.expect_event("requestfinished", lambda request: request == self._request):
            self.let_go()
        # The page's own turn comes before what is set behind it.
        await self._page.evaluate("() => new Promise(done => setTimeout(() => setTimeout(done, 0), 0))")

    def let_go(self) -> None:
        """Give it to the page."""
        self._go.set()

    async def _hold(self, route: Any) -> None:
        if self.asked.is_set():
            await route.continue_()
            return
        self._request = route.request
        self.asked.set()
        answer = await route.fetch()
        self._came.set()
        await self._go.wait()
        await route.fulfill(response=answer)


async def create(page: Any, command: str, **more: str) -> str:
    """Submit a shell command beside the page; its id."""
    script = """async specification => {
      const { createJobs, requestId } = await import('/static/js/api.js');
      return (await createJobs({ items: [{ specification }], requestId: requestId() })).responses[0].id;
    }"""
    return str(await page.evaluate(script, {"command": "sh", "arguments": ["-c", command], "queue": "pair", **more}))


async def test_the_list_keeps_what_the_watch_has_told_since_it_was_asked_for(admin: Visitor, tmp_path: Path) -> None:
    page = admin.page
    known, unknown = Gate(tmp_path, "known"), Gate(tmp_path, "unknown")
    first = await create(page, known.command, name="known")
    await admin.go("jobs")
    row = page.locator("tbody tr", has=page.locator(f'a[href="#/jobs/{first}"]'))
    await row.get_by_text("Running").wait_for()
    await page.locator(".live[data-live=live]").wait_for()

    page_of_jobs = Held(page, "**/v1/jobs?*pageSize=50*")
    await page_of_jobs.begin()
    second = await create(page, unknown.command, name="unknown")
    await page_of_jobs.read()
    # It is not on the page yet; what the watch tells of it comes before what it tells of the other one.
    unknown.open()
    script = """async id => {
      const { retrieveJob } = await import('/static/js/api.js');
      return (await retrieveJob(id)).job.status.state;
    }"""

    async def ended() -> bool:
        return bool(await page.evaluate(script, second) == "JOB_STATE_SUCCESS")

    await eventually(ended, "the second job to end")
    known.open()
    await row.get_by_text("Completed").wait_for()
    await page_of_jobs.be_taken()
    other = page.locator("tbody tr", has=page.locator(f'a[href="#/jobs/{second}"]'))
    await other.wait_for()
    assert [await each.locator(".pill").inner_text() for each in (row, other)] == ["Completed", "Completed"]


async def test_of_two_lists_on_their_way_the_later_one_stays(admin: Visitor) -> None:
    page = admin.page
    await page.locator(".live[data-live=live]").wait_for()
    older = Held(page, "**/v1/jobs?*pageSize=50*")
    await older.begin()
    await create(page, "true", name="asked for before", queue="nobody")
    await older.read()
    later = await create(page, "true", name="asked for after", queue="nobody")
    row = page.locator(f'a[href="#/jobs/{later}"]')
    await row.wait_for()
    await older.be_taken()
    assert await row.is_visible()


async def test_the_page_of_a_job_keeps_its_end(admin: Visitor, tmp_path: Path) -> None:
    page = admin.page
    gate = Gate(tmp_path)
    job = await create(page, gate.command, timeAllocation="3600s")
    await admin.go(f"jobs/{job}")
    await admin.sees_state("Running")
    await page.locator(".live[data-live=live]").wait_for()

    answer = Held(page, f"**/v1/jobs/{job}?*")
    await answer.begin()
    script = """async jobId => {
      const { extendJobs, requestId } = await import('/static/js/api.js');
      await extendJobs({ items: [{ jobId, requestedTime: '60s' }], requestId: requestId() });
    }"""
    await page.evaluate(script, job)
    await answer.read()
    gate.open()
    await admin.sees_state("Completed")
    await answer.be_taken()
    assert await admin.state() == "Completed"
    assert not await page.get_by_role("button", name="End job").is_visible()


async def test_output_goes_on_to_the_next_attempt_when_that_is_known_before_the_end(
    admin: Visitor, tmp_path: Path
) -> None:
    """As when a worker is lost: another one has the job long before the rest of the output is given up."""
    page = admin.page
    gate = Gate(tmp_path)
    tries = f'echo "try $TENURE_ATTEMPT"; [ $TENURE_ATTEMPT = 2 ] && exit 0; {gate.command}; exit 1'
    job = await create(page, tries, name="lost")
    await admin.go(f"jobs/{job}")
    await admin.sees_state("Running")
    output = Held(page, f"**/v1/jobs/{job}/logs*attempt=1*")
    await output.begin()
    await page.get_by_role("button", name="Show output").click()
    async with asyncio.timeout(PATIENCE_MS / 1000):
        await output.asked.wait()
    gate.open()
    await output.read()
    await page.locator("option", has_text="Attempt 2, the latest").wait_for(state="attached")
    output.let_go()
    await page.get_by_text("End of attempt 2.").wait_for()
    assert await page.get_by_label("Output", exact=True).inner_text() == "try 1\n\n— attempt 2 —\ntry 2\n"
    assert await page.get_by_label("Attempt", exact=True).input_value() == "2"
