"""How the page looks and behaves for everybody: on a telephone, in the dark, by keyboard, under its own policy."""

from __future__ import annotations

import pytest

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.processes

VIEWS = ("jobs", "submit", "workers", "queues", "events")


async def test_nothing_scrolls_sideways_on_a_telephone(visitor: Visitor) -> None:
    await visitor.arrive(width=360, height=740)
    assert await visitor.overflow() <= 0
    await visitor.sign_in()
    page = visitor.page
    long = "a-name-without-any-place-to-break-it-" * 5
    await visitor.submit(f"echo {long}", Name=long, Labels=f"label={long}")
    await visitor.sees_state("Completed", "Running")
    assert await visitor.overflow() <= 0
    for view in VIEWS:
        await visitor.go(view)
        await page.locator("main h1").wait_for()
        await page.locator("main .loading").wait_for(state="detached")
        assert await visitor.overflow() <= 0, view


async def test_dark_and_light(visitor: Visitor) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    await visitor.arrive(scheme="dark")
    await visitor.sign_in()
    page = visitor.page
    dark = await page.evaluate(background)
    button = page.get_by_role("button", name="Colours")
    await button.click()
    light = await page.evaluate(background)
    assert light != dark
    # The choice holds, from the first paint on, until it is taken back.
    await page.reload()
    assert await page.evaluate(background) == light
    await page.get_by_role("heading", name="Jobs").wait_for()
    await button.click()
    assert await page.evaluate(background) == dark
    await button.click()
    await page.emulate_media(color_scheme="light")
    assert await page.evaluate(background) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_can_be_read(visitor: Visitor, scheme: str) -> None:
    """Every text has the contrast that WCAG asks for (4.5), or it is a disabled control."""
    await visitor.arrive(scheme=scheme)
    await visitor.sign_in()
    await visitor.submit("true", Name="colourful", Labels="a=b")
    await visitor.sees_state("Completed")
    for view in (None, "jobs", "submit", "queues", "events"):
        if view:
            await visitor.go(view)
            await visitor.page.locator("main .loading").wait_for(state="detached")
        assert await visitor.page.evaluate(CONTRAST) == [], view


async def test_everything_works_by_keyboard(visitor: Visitor) -> None:
    """Sign in, submit, extend, end and sign out without a mouse; what has the focus is always visible."""
    page = visitor.page
    keys = page.keyboard
    await page.get_by_label("Token").wait_for()
    await keys.insert_text(visitor.token)
    await keys.press("Enter")
    await page.get_by_role("heading", name="Jobs").wait_for()
    await _tab_to(visitor, "New job")
    await keys.press("Enter")
    await page.get_by_role("heading", name="New job").wait_for()
    await page.get_by_label("Command line").and_(page.locator(":focus")).wait_for()
    await keys.insert_text("sleep 200")
    await _tab_to(visitor, "Time allocation")
    await keys.insert_text("20m")
    await keys.press("Enter")
    await page.wait_for_url("**/#/jobs/*")
    await visitor.sees_state("Running")

    await _tab_to(visitor, "Extend …")
    await keys.press("Enter")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_text("It will end at").wait_for()
    for _ in range(12):  # More than it has controls: the focus goes round within, or to the browser itself.
        await keys.press("Tab")
        inside = "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        assert await page.evaluate(inside)
    await keys.press("Escape")
    await dialog.wait_for(state="detached")
    assert await page.evaluate("document.activeElement.textContent") == "Extend …"
    await keys.press("Enter")
    await dialog.get_by_text("It will end at").wait_for()
    await keys.press("Enter")
    await page.locator(".facts", has_text="20m + 1h extended").wait_for()

    await _tab_to(visitor, "End job …")
    await keys.press("Enter")
    await dialog.wait_for()
    await _tab_to(visitor, "End job")
    await keys.press("Enter")
    await visitor.sees_state("Canceling", "Cancelled")
    await _tab_to(visitor, "Sign out")
    await keys.press("Enter")
    await page.get_by_role("heading", name="Sign in to Tenure").wait_for()


async def test_arrow_keys_go_through_the_list(admin: Visitor) -> None:
    page = admin.page
    await admin.submit("true", Name="lower", Labels="arrows=1")
    await admin.submit("true", Name="upper", Labels="arrows=1")
    await admin.go("jobs?label=arrows%3D1")
    await page.get_by_text("2 jobs", exact=True).wait_for()
    await page.get_by_role("link", name="upper").focus()
    await page.keyboard.press("ArrowDown")
    assert await page.evaluate("document.activeElement.textContent") == "lower"


async def test_a_new_view_is_announced_and_has_a_title(admin: Visitor) -> None:
    page = admin.page
    for name in ("Workers", "Queues", "Events", "Jobs"):
        await page.get_by_role("link", name=name, exact=True).click()
        await page.get_by_role("heading", name=name, exact=True).wait_for()
        assert await page.title() == f"{name} – Tenure"
        assert await page.evaluate("document.activeElement.tagName") == "H1"
        assert await page.locator("nav [aria-current=page]").inner_text() == name


async def test_every_control_has_a_name(admin: Visitor) -> None:
    await admin.submit("sleep 5", Name="named")
    for view in (None, *VIEWS):
        if view:
            await admin.go(view)
            await admin.page.locator("main .loading").wait_for(state="detached")
        assert await admin.page.evaluate(NAMELESS) == [], view


async def test_the_policy_is_strict_and_kept(visitor: Visitor) -> None:
    """Nothing inline runs; that the page itself never tries to is seen by every test, from its console."""
    response = await visitor.page.request.get(visitor.url)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    await visitor.page.evaluate(
        """() => {
          const inline = document.createElement('script');
          inline.textContent = 'window.ran = 1';
          document.body.append(inline);
        }"""
    )
    assert await visitor.page.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in each for each in visitor.complaints)
    visitor.complaints.clear()


async def _tab_to(visitor: Visitor, name: str) -> None:
    """Press Tab until the control with this name or label has the focus; it must be seen to have it."""
    for _ in range(80):
        await visitor.page.keyboard.press("Tab")
        here, outlined = await visitor.page.evaluate(FOCUSED)
        if here == name:
            assert outlined, f"{name} has the focus and does not show it"
            return
    raise AssertionError(f"{name} cannot be reached by Tab")


FOCUSED = """() => {
  const it = document.activeElement;
  const label = it.labels?.[0]?.textContent ?? it.getAttribute('aria-label') ?? it.textContent;
  return [label.trim(), getComputedStyle(it).outlineStyle !== 'none'];
}"""

NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, select, textarea, progress, meter')]
  .filter(it => it.checkVisibility())
  .filter(it => !(it.labels?.length || it.getAttribute('aria-label') || it.textContent.trim() || it.title))
  .map(it => it.outerHTML)"""

CONTRAST = """() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const behind = it => {
    const layers = [];
    for (let each = it; each; each = each.parentElement) layers.push(rgba(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => {
    const part = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const it = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !it.checkVisibility() || it.closest('svg, :disabled, option')) continue;
    const back = behind(it);
    const front = over(rgba(getComputedStyle(it).color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${texts.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}"""
