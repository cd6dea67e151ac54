"""What every walk through the console does."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.async_api import Page, expect

AXE = Path(__file__).parents[3] / "services/tracing/console/node_modules/axe-core/axe.min.js"
LOADING = "!document.body.innerText.includes('Loading …')"


async def login(world, page: Page, key: str, path: str = "") -> None:
    await page.goto(f"{world.url}/console/{path}")
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()


async def loaded(page: Page) -> None:
    """Nothing is on its way. The page's own policy forbids a wait that evaluates text in it."""
    for _ in range(600):
        if await page.evaluate(LOADING):
            return
        await page.wait_for_timeout(50)
    raise AssertionError("it is still loading")


async def accessible(page: Page) -> None:
    """No serious fault is found by axe."""
    await loaded(page)
    if not await page.evaluate("typeof axe !== 'undefined'"):
        await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run().then((found) => found.violations)")
    grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert grave == [], json.dumps([(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in grave])
