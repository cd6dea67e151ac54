"""A reviewer decides in the console about texts that a policy gave to people."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from tests.e2e.console.walking import accessible, login

TEXT = "about project-egret <img src=x onerror='window.hacked=1'>"


async def ask(world, text: str) -> tuple[int, dict]:
    async with world.http() as client:
        answer = await client.post(
            "/v1/chat/completions", json={"model": "reviewed", "messages": [{"role": "user", "content": text}]}
        )
        return answer.status_code, answer.json()


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_a_reviewer_claims_a_text_and_decides(world, page, verdict):
    text = f"{verdict} {TEXT}"
    status, refused = await ask(world, text)
    assert (status, refused["error"]["code"]) == (400, "content_review")
    await login(world, page, await world.key("dev", "review"), "reviews")
    assert not await page.get_by_role("link", name="Rollouts").count(), "that is for admins"
    async with world.http(await world.key("dev", "review")) as client:
        waiting = (await client.get("/v1/guardrails/reviews")).json()["data"]
        (item,) = [one for one in waiting if one["state"] == "open"]
    await expect(page.get_by_role("region", name="Reviews")).to_contain_text("ban_list banned")
    await accessible(page)
    await page.locator(f"a[href$='reviews/{item['id']}']").click()
    await expect(page.get_by_role("region", name="Text")).to_contain_text(text)
    assert await page.evaluate("window.hacked") is None and await page.locator("main img").count() == 0
    await page.get_by_role("button", name="Claim it").click()
    about = page.get_by_role("region", name="What and whose")
    await expect(about).to_contain_text("claimed by")
    await accessible(page)
    if verdict == "reject":
        await page.get_by_role("button", name="Reject").click()
        await expect(page.get_by_role("alert")).to_have_text("Say why it is rejected.")
        await page.get_by_label("Reason").fill("not ours to tell")
        await page.get_by_role("button", name="Reject").click()
        await expect(about).to_contain_text("not ours to tell")
    else:
        await page.get_by_role("button", name="Approve").click()
        await expect(about).to_contain_text("approved by")
    assert not await page.get_by_role("button", name="Approve").count(), "it is decided once"
    status, _ = await ask(world, text)
    assert status == (200 if verdict == "approve" else 400)
    await page.goto(f"{world.url}/console/reviews?state={'approved' if verdict == 'approve' else 'rejected'}")
    await expect(page.locator(f"a[href$='reviews/{item['id']}']")).to_be_visible()


async def test_the_playground_fetches_what_was_withheld_once_it_is_approved(world, page):
    await login(world, page, world.env["HEADRACE_API_KEY"], "playground?model=reviewed")
    await page.get_by_label("Question").fill(json.dumps({"tokens": ["It is ", "project-osprey", "."]}))
    await page.get_by_label("Question").press("Enter")
    fetch = page.get_by_role("button", name="Fetch what was withheld")
    await fetch.click()
    await expect(page.get_by_role("region", name="Conversation")).to_contain_text("nobody has decided yet")
    await accessible(page)
    async with world.http(await world.key("dev", "review")) as client:
        waiting = (await client.get("/v1/guardrails/reviews")).json()["data"]
        (item,) = [one for one in waiting if one["state"] == "open" and one["direction"] == "output"]
        approved = await client.post(f"/v1/guardrails/reviews/{item['id']}/approve", json={})
        assert approved.status_code == 200
    await fetch.click()
    await expect(page.get_by_label("What was withheld")).to_contain_text("project-osprey")
