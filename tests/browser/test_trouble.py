"""What the page does when something is refused or out of reach: it says so, and goes on as soon as it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.gate import Gate
from tests.browser.house import House
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.processes


async def test_a_bad_token_is_refused_and_a_good_one_taken(visitor: Visitor) -> None:
    page = visitor.page
    await page.get_by_label("Token").fill("wrong")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("alert").filter(has_text="does not know this token").wait_for()
    assert await page.evaluate("document.activeElement.name") == "token"
    await visitor.sign_in()
    cookies = await page.context.cookies()
    assert [(each["httpOnly"], each["sameSite"]) for each in cookies] == [(True, "Strict")]
    assert await page.evaluate("[document.cookie, {...localStorage}, {...sessionStorage}]") == ["", {}, {}]


async def test_signing_out_ends_the_session(visitor: Visitor) -> None:
    await visitor.sign_in()
    page = visitor.page
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("heading", name="Sign in to Tenure").wait_for()
    await page.reload()
    await page.get_by_role("heading", name="Sign in to Tenure").wait_for()


async def test_a_session_that_is_over_asks_to_sign_in_and_goes_on(admin: Visitor) -> None:
    page = admin.page
    await page.context.clear_cookies()
    await admin.go("queues")
    await page.get_by_text("Your session is over").wait_for()
    await page.get_by_label("Token").fill(admin.token)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Queues").wait_for()


async def test_refused_fields_are_named_and_marked(admin: Visitor) -> None:
    page = admin.page
    await admin.go("submit")
    await page.get_by_label("Command line").fill("true")
    await page.get_by_label("Environment").fill("TENURE_MINE=1")
    await page.get_by_label("Queue").fill("no spaces here")
    await page.get_by_role("button", name="Submit", exact=True).click()
    await page.get_by_role("alert").filter(has_text="queue").wait_for()
    assert await page.get_by_label("Queue").get_attribute("aria-invalid") == "true"
    assert page.url.endswith("#/submit")

    await page.get_by_label("Queue").fill("")
    await page.get_by_label("Environment").fill("no equals sign")
    await page.get_by_role("button", name="Submit", exact=True).click()
    await page.get_by_role("alert").filter(has_text="Write NAME=value").wait_for()
    assert await page.evaluate("document.activeElement.tagName") == "TEXTAREA"


async def test_a_refused_extension_says_why_and_changes_nothing(admin: Visitor) -> None:
    page = admin.page
    await admin.submit("sleep 100", Name="without an end", Queue="nobody")
    await page.get_by_role("button", name="Extend").click()
    dialog = page.get_by_role("dialog")
    await dialog.locator(".preview.bad").filter(has_text="time").wait_for()
    assert await dialog.get_by_role("button", name="Extend by").is_disabled()
    await dialog.get_by_label("Add").fill("soon")
    await dialog.get_by_text("Write it like 90s, 1h30m or 2d.").wait_for()


async def test_a_failing_call_stays_in_its_dialog_and_can_be_repeated(admin: Visitor) -> None:
    """The answer to the change is lost on the way: pressing again repeats it with the same request id."""
    page = admin.page
    await admin.submit("sleep 100", Name="repeated", Queue="nobody")
    bodies: list[str] = []

    async def lose(route: object) -> None:
        bodies.append(route.request.post_data)  # type: ignore[attr-defined]
        if len(bodies) == 1:
            await route.fetch()  # type: ignore[attr-defined]
            await route.abort()  # type: ignore[attr-defined]
        else:
            await route.continue_()  # type: ignore[attr-defined]

    await page.route("**/v1/jobs:terminate", lose)
    await page.get_by_role("button", name="End job").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="End job").click()
    await dialog.get_by_role("alert").filter(has_text="cannot be reached").wait_for()
    await dialog.get_by_role("button", name="End job").click()
    await dialog.wait_for(state="detached")
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    await admin.sees_state("Cancelled")


async def test_whoever_may_not_see_something_is_told_so(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await visitor.sign_in(house.make_token("user", "ann"))
    await page.get_by_text("No jobs yet.").wait_for()
    await visitor.submit("sleep 30", Name="mine", Queue="nobody")
    await visitor.sees_state("In queue")
    for name in ("Workers", "Events"):
        await page.get_by_role("link", name=name, exact=True).click()
        await page.get_by_role("alert").filter(has_text="Your token may not see this.").wait_for()
    await page.get_by_role("link", name="Queues", exact=True).click()
    await page.locator("tbody tr", has_text="nobody").wait_for()
    assert not await page.get_by_role("button", name="Pause").is_visible()


async def test_unknown_jobs_and_addresses(admin: Visitor) -> None:
    await admin.go("jobs/01a20122-0000-7000-8000-000000000000")
    await admin.page.get_by_text("There is no such job, or it is not yours.").wait_for()
    await admin.go("nowhere")
    await admin.page.get_by_role("heading", name="There is no such page").wait_for()


async def test_a_list_that_cannot_be_read_can_be_tried_again(admin: Visitor) -> None:
    page = admin.page
    await page.route("**/v1/queues*", lambda route: route.abort())
    await admin.go("queues")
    await page.get_by_role("alert").filter(has_text="cannot be reached").wait_for()
    await page.unroute("**/v1/queues*")
    await page.get_by_role("button", name="Try again").click()
    await page.locator("tbody tr", has_text="default").first.wait_for()


async def test_the_watch_goes_on_where_it_broke_off(admin: Visitor, tmp_path: Path) -> None:
    """Both streams are cut; what happened meanwhile arrives by the resume token, without a reload of the list."""
    page = admin.page
    gate = Gate(tmp_path)
    job = await admin.submit(f"sh -c '{gate.command}'", Name="meanwhile")
    asked: list[str] = []
    cut = True

    async def watch(route: object) -> None:
        asked.append(route.request.url)  # type: ignore[attr-defined]
        if cut:
            await route.abort()  # type: ignore[attr-defined]
        else:
            await route.continue_()  # type: ignore[attr-defined]

    await admin.go("jobs")
    await page.locator(".live[data-live=live]").wait_for()
    await page.route("**/v1/jobs:watch*", watch)
    await admin.go(f"jobs/{job}")
    await page.locator(".live[data-live=waiting]").wait_for()
    cut = False
    gate.open()
    await admin.sees_state("Completed")
    assert len(asked) >= 2
    assert all("resumeToken=" in url for url in asked)
