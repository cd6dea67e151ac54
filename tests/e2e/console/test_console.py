"""Somebody walks through the console, in a real Chromium, on a platform that runs."""

from __future__ import annotations

import json
import re

from playwright.async_api import expect

from tests.e2e.console.walking import accessible, loaded, login

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


async def answered(world, question: str, model: str = "unsure") -> str:
    """Trace id of an answer, once its trace is there."""
    script = json.dumps({"tokens": ["discarded ", "words"], "logprob": -2.0, "note": question})
    async with world.http() as client:
        answer = await client.post(
            "/v1/chat/completions",
            json={
                "model": model,
                "max_tokens": 8,
                "messages": [{"role": "user", "content": script}],
                "headrace": {"conversation_id": "walk"},
            },
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["headrace"]["trace_id"]


async def test_a_key_is_sent_once_and_kept_nowhere(world, page):
    await page.goto(f"{world.url}/console/usage")
    await page.get_by_label("API key").fill("hr_wrong")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("not known")
    await accessible(page)
    key = world.env["HEADRACE_API_KEY"]
    await login(world, page, key, "usage")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Usage and budgets")
    kept = await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    assert key not in kept and "headrace_session" not in kept
    cookies = await page.context.cookies()
    assert [(cookie["httpOnly"], cookie["sameSite"], key in cookie["value"]) for cookie in cookies] == [
        (True, "Strict", False)
    ]
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Usage and budgets")
    assert not await page.get_by_role("link", name="Rollouts").count(), "not for this key"
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("API key")).to_be_visible()
    assert await page.context.cookies() == []


async def test_every_page_is_reached_by_keys_and_is_accessible_in_both_themes(world, page):
    await answered(world, "walk")
    await login(world, page, world.env["HEADRACE_ADMIN_KEY"])
    for theme in ("light", "dark"):
        if theme == "dark":
            await page.get_by_role("button", name="Dark").click()
        assert await page.evaluate("document.documentElement.dataset.theme") == theme
        for letter, title in zip(
            "otscdrvup",
            [
                "Overview",
                "Traces",
                "Sessions",
                "Compare",
                "Drift",
                "Rollouts",
                "Reviews",
                "Usage and budgets",
                "Playground",
            ],
            strict=True,
        ):
            await page.locator("body").press("g")
            await page.locator("body").press(letter)
            await expect(page.get_by_role("heading", level=1)).to_have_text(title)
            await accessible(page)


async def test_a_trace_shows_hops_decisions_and_hostile_text_as_text(world, page):
    trace_id = await answered(world, HOSTILE)
    await login(world, page, world.env["HEADRACE_API_KEY"], f"traces/{trace_id}")
    tree = page.get_by_role("tree", name="Spans")
    for _ in range(30):  # spans are written behind the answer
        await page.get_by_role("button", name="Refresh").click()
        await loaded(page)
        if await tree.count() and await tree.get_by_role("treeitem").count() > 4:
            break
        if await page.get_by_role("button", name="Try again").count():
            await page.get_by_role("button", name="Try again").click()
        await page.wait_for_timeout(300)
    decisions = page.get_by_role("region", name="Decisions")
    await expect(decisions.get_by_role("row").nth(1)).to_contain_text("rejected")
    await expect(decisions.get_by_role("row").nth(2)).to_contain_text("accepted")
    await expect(page.get_by_role("region", name="Content")).to_contain_text("onerror")
    assert await page.evaluate("window.hacked") is None and await page.locator("main img").count() == 0
    first = tree.get_by_role("treeitem").first
    await first.click()
    await first.press("ArrowDown")
    await expect(tree.get_by_role("treeitem").nth(1)).to_be_focused()
    assert re.search(r"span=[0-9a-f]{16}", page.url), "a span has its own link"
    await accessible(page)
    await page.get_by_label("Comment").fill("rather good")
    await page.get_by_role("button", name="Good").click()
    await expect(page.get_by_role("region", name="Feedback", exact=True)).to_contain_text("rather good")


async def test_filters_live_in_the_address_and_a_live_list_grows(world, page):
    await login(world, page, world.env["HEADRACE_API_KEY"], "traces?model=unsure&range=1h")
    await expect(page.get_by_label("Model")).to_have_value("unsure")
    await page.get_by_role("button", name="Live").click()
    await expect(page).to_have_url(re.compile("live=1"))
    trace_id = await answered(world, "seen live")
    await expect(page.locator(f"a[href='/console/traces/{trace_id}']")).to_be_visible(timeout=30_000)
    await page.get_by_label("Status").select_option("error")
    await expect(page.locator(f"a[href='/console/traces/{trace_id}']")).to_have_count(0)
    await page.go_back()
    await expect(page.locator(f"a[href='/console/traces/{trace_id}']")).to_be_visible()


async def test_what_an_answer_cites_is_marked_in_its_passages(world, page):
    trace_id = await answered(world, "seen with passages")
    seen = {"collection": "town", "document_id": "a", "chunk_id": "", "title": "", "score": 0.5, "page": 0}
    texts = [
        ("It rains. <b>It pours.</b>", True, ["<b>It pours.</b>", "not there"]),
        ("Masked.", True, ["x"]),
        ("Sun.", False, []),
    ]

    async def with_passages(route):
        answer = await (await route.fetch()).json()
        answer["content"]["passages"] = [
            {**seen, "number": number, "text": text, "start": 0, "end": len(text), "cited": cited, "quotes": quotes}
            for number, (text, cited, quotes) in enumerate(texts, 1)
        ]
        await route.fulfill(json=answer)

    await page.route(re.compile(f"/v1/traces/{trace_id}"), with_passages)
    await login(world, page, world.env["HEADRACE_API_KEY"], f"traces/{trace_id}")
    # One of which no quote is found, as redaction changed it, is marked whole.
    await expect(page.locator("mark")).to_have_text(["<b>It pours.</b>", "Masked."])
    await accessible(page)


async def test_the_playground_streams_an_answer_and_shows_its_trace(world, page):
    await login(world, page, world.env["HEADRACE_API_KEY"], "playground?model=scripted")
    await page.get_by_label("Question").fill(json.dumps({"tokens": ["<b>clear</b> ", "water"]}))
    await page.get_by_label("Question").press("Enter")
    await expect(page.get_by_role("region", name="Conversation")).to_contain_text("<b>clear</b> water")
    await expect(page.get_by_role("tree", name="Spans")).to_be_visible(timeout=30_000)
    await accessible(page)


async def test_a_rollout_is_aborted_by_an_admin(world, page):
    await login(world, page, world.env["HEADRACE_ADMIN_KEY"], "rollouts")
    await page.get_by_role("link", name="swapped").first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Rollout of swapped")
    await accessible(page)
    await page.get_by_role("button", name="Abort").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("goes back to the baseline")
    await dialog.get_by_role("button", name="Keep it as it is").click()
    await expect(dialog).to_be_hidden()


async def test_what_is_not_there_says_so(world, page):
    await login(world, page, world.env["HEADRACE_API_KEY"], "traces/" + "1" * 32)
    await expect(page.get_by_role("alert")).to_contain_text("Not found")
    await page.goto(f"{world.url}/console/nowhere/at/all")
    await expect(page.get_by_role("heading", level=1)).to_have_text("No such page")
    await accessible(page)


async def test_other_sites_and_bare_cookies_get_nothing(world):
    async with world.http("") as client:
        began = await client.post("/console/session", json={"key": world.env["HEADRACE_API_KEY"]})
        assert began.status_code == 201
        assert (await client.get("/v1/traces")).status_code == 401, "the cookie alone is nobody's"
        assert (await client.get("/v1/traces", headers={"x-headrace-console": "1"})).status_code == 200
        page = await client.get("/console/traces/x")
        assert page.headers["content-type"].startswith("text/html")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert (await client.get("/console/assets/none.js")).status_code == 404
