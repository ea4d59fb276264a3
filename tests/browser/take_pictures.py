"""Takes the pictures in docs/pictures: `python -m tests.browser.take_pictures`, about two minutes.

It plays a small scene with a real server and workers: a training that fails once, goes on elsewhere and is extended,
among shorter jobs. To be looked at afterwards, not only taken.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.browser.chromium import FLAGS, async_playwright, executable, missing
from tests.browser.house import House
from tests.browser.visitor import Visitor

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SCENE_S = 75.0

TRAINING = r"""
import json, os, sys, time
first = os.environ["TENURE_ATTEMPT"] == "1"
for epoch in range(1, 200):
    print(f"epoch {epoch:3d}  loss {2.3 / epoch ** 0.5:.4f}  accuracy {1 - 0.9 / epoch ** 0.4:.3f}", flush=True)
    with open(os.environ["TENURE_PROGRESS_FILE"], "w") as file:
        json.dump({"fraction": epoch / 200, "message": f"epoch {epoch} of 200"}, file)
    time.sleep(0.7)
    if first and epoch == 18:
        sys.exit("CUDA error: out of memory")
"""


async def main() -> None:
    """Play the scene and take the pictures."""
    if reason := missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="tenure-pictures-") as folder:
        house = House(Path(folder))
        try:
            await house.open()
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
                await _play(Visitor(browser, house.url, house.token), Path(folder))
                await browser.close()
        finally:
            house.close()


async def _play(visitor: Visitor, folder: Path) -> None:
    script = folder / "train.py"
    script.write_text(TRAINING)
    begun = time.monotonic()
    await visitor.arrive()
    await visitor.sign_in()
    training = await visitor.submit(
        f"python3 {script}",
        Name="train resnet, fold 3",
        Queue="pair",
        Time_allocation="2m30s",
        Labels="team=vision\nstage=train",
        Environment="STEPS=200",
        Heartbeat_interval="1s",
    )
    await visitor.submit("sh -c 'exit 2'", Name="import measurements", Labels="team=data", Time_allocation="1h")
    await visitor.submit("sleep 60", Name="smoke test of the nightly build", Time_allocation="8s")
    for frame in (1, 2, 3):
        await visitor.submit("sleep 2", Name=f"render frame {frame}", Labels="team=film", Time_allocation="2h")
    await visitor.submit("sleep 300", Name="evaluate fold 2", Labels="team=vision\nstage=eval", Time_allocation="1h30m")
    await visitor.submit("python3 fit.py --grid", Name="grid search", Queue="gpu", Labels="team=vision")
    await visitor.submit("sleep 300", Name="wrong branch", Labels="team=web", Time_allocation="4h")
    await visitor.sees_state("Running")
    await _end(visitor)

    await visitor.go(f"jobs/{training}")
    await visitor.page.locator(".attempts tbody tr", has_text="machine-").nth(1).wait_for()
    await asyncio.sleep(max(0.0, 40 - (time.monotonic() - begun)))
    await _extend(visitor)
    await asyncio.sleep(max(0.0, SCENE_S - (time.monotonic() - begun)))
    await visitor.page.get_by_role("button", name="Show output").click()
    await visitor.page.get_by_label("Output", exact=True).filter(has_text="epoch").wait_for()
    await visitor.page.set_viewport_size({"width": 1280, "height": 1120})
    await visitor.page.evaluate("scrollTo(0, 0)")
    await _take(visitor, "job.png")
    await visitor.page.set_viewport_size({"width": 1280, "height": 760})
    await visitor.go("jobs")
    await visitor.page.locator(".title", has_text="wrong branch").wait_for()
    await _take(visitor, "jobs.png")

    await visitor.arrive(width=390, height=900, scheme="dark")
    await visitor.sign_in()
    await visitor.go(f"jobs/{training}")
    await visitor.page.locator(".timeline .ran").first.wait_for()
    await _take(visitor, "telephone.png")
    await visitor.arrive(scheme="dark", height=560)
    await visitor.sign_in()
    await visitor.go(f"events?job={training}")
    await visitor.page.locator(".events .type", has_text="JobExtended").wait_for()
    await _take(visitor, "events.png")
    await visitor.leave()


async def _end(visitor: Visitor) -> None:
    await visitor.page.get_by_role("button", name="End job").click()
    dialog = visitor.page.get_by_role("dialog")
    await dialog.get_by_label("Grace period").select_option("none: it ends at once")
    await dialog.get_by_role("button", name="End job").click()
    await visitor.sees_state("Cancelled")


async def _extend(visitor: Visitor) -> None:
    await visitor.page.get_by_role("button", name="Extend").click()
    dialog = visitor.page.get_by_role("dialog")
    await dialog.get_by_label("Add").fill("1m")
    await dialog.get_by_text("It will end at").wait_for()
    await dialog.get_by_role("button", name="Extend by").click()
    await dialog.wait_for(state="detached")


async def _take(visitor: Visitor, name: str) -> None:
    await asyncio.sleep(0.6)
    await visitor.page.screenshot(path=PICTURES / name)


if __name__ == "__main__":
    asyncio.run(main())
