"""The whole way of a job through the page: submitted, watched, extended, ended; and what else a job's page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.gate import Gate
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.processes


async def test_submit_watch_extend_and_end(admin: Visitor) -> None:
    page = admin.page
    await page.get_by_role("link", name="New job").click()
    await page.get_by_label("Command line").fill("sleep 300")
    await page.get_by_label("Name", exact=True).fill("the long one")
    await page.get_by_label("Time allocation").fill("10m")
    await page.get_by_label("Labels").fill("team=vision\nstage=train")
    await page.get_by_role("button", name="Submit", exact=True).click()

    # Nothing is reloaded: the watch shows that it starts.
    await page.get_by_role("heading", name="the long one").wait_for()
    await admin.sees_state("Running")
    await page.locator(".updates li", has_text="Your job is now running!").wait_for()
    await page.locator(".attempts tbody tr", has_text="machine-a").wait_for()
    assert await page.locator(".timeline .ran").count() == 1
    await page.get_by_text("10m", exact=True).wait_for()

    await page.get_by_role("button", name="Extend").click()
    dialog = page.get_by_role("dialog", name="Extend this job")
    await dialog.get_by_label("Add").fill("2h30m")
    # The preview is the server's answer to the same request with validate_only.
    await dialog.get_by_text(re.compile(r"It will end at .* \(in 2h (39|40)m\) instead of")).wait_for()
    await dialog.get_by_role("button", name="Extend by 2h 30m").click()
    await dialog.wait_for(state="detached")
    await page.locator(".facts", has_text="10m + 2h 30m extended").wait_for()
    await page.locator(".timeline .extended").wait_for()

    await page.get_by_role("button", name="End job").click()
    dialog = page.get_by_role("dialog", name="End this job?")
    await dialog.get_by_label("Grace period").select_option("none: it ends at once")
    await dialog.get_by_label("Reason").fill("seen enough")
    await dialog.get_by_role("button", name="End job", exact=True).click()
    await dialog.wait_for(state="detached")
    await admin.sees_state("Cancelled")
    await page.locator(".facts", has_text="seen enough").wait_for()
    assert not await page.get_by_role("button", name="Extend").is_visible()
    assert not await page.get_by_role("button", name="End job").is_visible()


async def test_the_list_is_live(admin: Visitor) -> None:
    page = admin.page
    await page.locator(".live[data-live=live]").wait_for()
    other = await admin.page.context.new_page()
    await other.goto(f"{admin.url}/#/submit")
    await other.get_by_label("Command line").fill("sleep 1")
    await other.get_by_label("Name", exact=True).fill("came by itself")
    await other.get_by_role("button", name="Submit", exact=True).click()
    await other.wait_for_url("**/#/jobs/*")

    row = page.locator(".jobs tbody tr", has_text="came by itself")
    await row.wait_for()
    await row.locator(".pill", has_text="Completed").wait_for()


async def test_the_list_is_filtered_searched_and_sorted(admin: Visitor) -> None:
    page = admin.page
    await admin.submit("true", Name="apple", Labels="fruit=yes")
    await admin.submit("true", Name="pear", Labels="fruit=yes", Queue="orchard")
    await admin.go("jobs")
    await page.get_by_label("Label").fill("fruit=yes")
    await page.wait_for_url("**label=fruit*")
    titles = page.locator(".jobs tbody tr:not([hidden]) .title")
    await page.get_by_text("2 jobs", exact=True).wait_for()
    assert await titles.all_inner_texts() == ["pear", "apple"]

    await page.get_by_role("button", name="Created").click()
    await page.locator("th[aria-sort=ascending]").wait_for()
    await page.locator(".jobs tbody tr:first-child .title", has_text="apple").wait_for()

    await page.get_by_label("Search this page").fill("PEA")
    await page.get_by_text("1 of 2 jobs", exact=True).wait_for()
    assert await titles.all_inner_texts() == ["pear"]
    await page.get_by_label("Search this page").fill("")

    await page.get_by_label("Queue").fill("orchard")
    await page.get_by_text("1 job", exact=True).wait_for()
    await page.get_by_label("State").select_option("Expired")
    await page.get_by_text("No job fits.").wait_for()
    await page.go_back()
    await page.get_by_text("1 job", exact=True).wait_for()
    assert await page.get_by_label("State").input_value() == ""


async def test_the_list_has_pages(admin: Visitor) -> None:
    page = admin.page
    item = "{specification: {command: 'true', queue: 'nobody', labels: {many: '1'}, name: `job ${index}`}}"
    script = f"""async () => {{
      const {{ createJobs }} = await import('/static/js/api.js');
      await createJobs({{ items: Array.from({{ length: 60 }}, (_, index) => ({item})) }});
    }}"""
    await page.evaluate(script)
    await admin.go("jobs?label=many%3D1&queue=nobody")
    await page.get_by_text("50 jobs", exact=True).wait_for()
    await page.get_by_role("button", name="Next page").click()
    await page.get_by_text("10 jobs, page 2", exact=True).wait_for()
    assert await page.locator(".jobs .title").last.inner_text() == "job 0"
    await page.get_by_role("button", name="Newer page").click()
    await page.get_by_text("50 jobs", exact=True).wait_for()
    assert await page.locator(".jobs .title").first.inner_text() == "job 59"


async def test_a_queue_is_paused_and_resumed(admin: Visitor) -> None:
    page = admin.page
    await admin.submit("true", Name="held up", Queue="held")
    await admin.go("queues")
    row = page.locator("tbody tr", has_text="held")
    for button, state in (("Pause", "Paused"), ("Resume", "Open")):
        await row.get_by_role("button", name=button).click()
        await page.get_by_role("dialog").get_by_role("button", name=button).click()
        await row.get_by_text(state, exact=True).wait_for()


async def test_what_jobs_say_is_never_markup(admin: Visitor) -> None:
    page = admin.page
    evil = '<img src=x onerror="document.title=1"><b>bold</b>'
    await admin.submit(f"echo '{evil}'", Name=evil, Labels=f"x={evil}", Queue="nobody")
    await page.get_by_role("heading", name=evil).wait_for()
    assert await page.locator("main img, main b").count() == 0
    await admin.go("jobs")
    await page.locator(".title", has_text=evil).first.wait_for()
    await admin.go("events")
    await page.locator(".events li", has_text="<b>bold</b>").first.wait_for()
    assert await page.locator("main img, main b").count() == 0


async def test_a_job_that_waits_says_why(admin: Visitor) -> None:
    await admin.submit("true", Name="lonely", Queue="empty-queue")
    await admin.page.locator(".why").filter(has_text="worker").wait_for()


async def test_run_again_takes_everything_over(admin: Visitor) -> None:
    page = admin.page
    await admin.submit("echo 'two words'", Name="first", Environment="A=1\nB=x=y", Time_allocation="1h30m")
    await page.get_by_role("link", name="Run again").click()
    await page.get_by_role("heading", name="Run again").wait_for()
    assert await page.get_by_label("Command line").input_value() == "echo 'two words'"
    assert await page.get_by_label("Environment").input_value() == "A=1\nB=x=y"
    assert await page.get_by_label("Time allocation").input_value() == "1h30m"
    await page.get_by_role("tab", name="JSON").click()
    text = await page.get_by_label("Specification as JSON").input_value()
    assert '"two words"' in text
    assert '"timeAllocation": "5400s"' in text


async def test_json_and_form_are_the_same(admin: Visitor) -> None:
    page = admin.page
    await admin.go("submit")
    await page.get_by_role("tab", name="JSON").click()
    area = page.get_by_label("Specification as JSON")
    await area.fill('{"command": "echo", "arguments": ["a b"], "priority": 7, "compression": true}')
    await page.get_by_role("tab", name="Form").click()
    assert await page.get_by_label("Command line").input_value() == "echo 'a b'"
    await page.get_by_label("Name", exact=True).fill("both")
    await page.get_by_role("button", name="Check only").click()
    await page.get_by_text("The server would take this job.").wait_for()
    await page.get_by_role("tab", name="JSON").click()
    assert '"compression": true' in await area.input_value()
    await area.fill('{"command": ')
    await page.get_by_role("tab", name="Form").click()
    await page.get_by_role("alert").filter(has_text="This is no JSON").wait_for()
    assert await area.is_visible()


async def test_output_is_followed_from_attempt_to_attempt(admin: Visitor, tmp_path: Path) -> None:
    page = admin.page
    gate = Gate(tmp_path)
    tries = f'echo "try $TENURE_ATTEMPT"; {gate.command}; [ $TENURE_ATTEMPT = 2 ]; exit $?'
    await admin.submit(f"sh -c '{tries}'", Name="talks", Queue="pair")
    await admin.sees_state("Running")
    await page.get_by_role("button", name="Show output").click()
    screen = page.get_by_label("Output", exact=True)
    await screen.filter(has_text="try 1").wait_for()
    gate.open()
    await screen.filter(has_text="try 2").wait_for()
    await page.get_by_text("End of attempt 2.").wait_for()
    await admin.sees_state("Completed")
    assert await screen.inner_text() == "try 1\n\n— attempt 2 —\ntry 2\n"
    await page.get_by_label("Attempt", exact=True).select_option("Attempt 1")
    await page.get_by_text("End of attempt 1.").wait_for()
    assert await screen.inner_text() == "try 1\n"


async def test_workers_queues_and_events(admin: Visitor, tmp_path: Path) -> None:
    page = admin.page
    gate = Gate(tmp_path)
    job = await admin.submit(f"sh -c '{gate.command}'", Name="busy")
    await admin.sees_state("Running")
    await page.get_by_role("link", name="Workers").click()
    row = page.locator("tbody tr", has_text="machine-a")
    await row.filter(has_text="Connected").locator(f'a[title="{job}"]').wait_for()
    gate.open()

    await page.get_by_role("link", name="Queues").click()
    await page.locator("tbody tr", has_text="default").filter(has_text="Open").first.wait_for()

    await admin.go(f"events?job={job}")
    await page.locator(".events .type", has_text="JobStarted").wait_for()
    assert set(await page.locator(".events a").all_inner_texts()) <= {f"job/{job}", ""}
    await page.locator(".events summary").last.click()
    await page.locator(".events pre", has_text='"jobCreated"').wait_for()
