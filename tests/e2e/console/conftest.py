"""A real Chromium, and a page that tells of every error."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    binary = os.environ.get("HEADRACE_BROWSER") or shutil.which("chromium")
    assert binary, "no chromium: infra/local/bootstrap.sh browser installs it, or HEADRACE_BROWSER names one"
    async with async_playwright() as playwright:
        # as root Chromium has no sandbox of its own; all that it loads is this platform
        browser = await playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def page(world, browser) -> AsyncIterator[Page]:
    """A page that fails the test for every error of a script and everything that its policy refused."""
    if world.runtime == "ray":
        pytest.skip("the browser sees the same files and the same API on both hosts")
    context = await browser.new_context(viewport={"width": 1360, "height": 900}, reduced_motion="reduce")
    page = await context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    await context.close()
    assert wrong == []
