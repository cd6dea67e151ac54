"""Lists, drift and budgets of the console, in a real Chromium; what takes days to come about, the test answers."""

from __future__ import annotations

import json
import re

from playwright.async_api import Route, expect

from tests.e2e.console.walking import accessible, login

DRIFT = {
    "object": "list",
    "data": [
        {
            "tenant": "dev", "model": "assistant", "collection": "", "feature": "language", "drifted": True,
            "psi": 1.25, "test": "chi-square", "p_value": 1e-9, "q_value": 3e-9, "count": 120, "reference_count": 900,
            "bins": [
                {"name": "de", "count": 60, "reference_count": 90, "from": None, "to": None},
                {"name": "en", "count": 60, "reference_count": 810, "from": None, "to": None},
            ],
            "days": [{"day": "2026-11-27", "count": 130, "psi": 0.0}, {"day": "2026-11-28", "count": 120, "psi": 1.25}],
        },
        {
            "tenant": "dev", "model": "assistant", "collection": "<b>handbook</b>", "feature": "input_chars",
            "drifted": False, "psi": 0.01, "test": "kolmogorov-smirnov", "p_value": None, "q_value": None, "count": 7,
            "reference_count": 70, "days": [],
            "bins": [{"name": "3", "count": 7, "reference_count": 70, "from": 32, "to": 64}],
        },
        {
            "tenant": "dev", "model": "assistant", "collection": "", "feature": "topic_meaning", "drifted": True,
            "psi": 0.6, "test": "chi-square", "p_value": 1e-9, "q_value": 3e-9, "count": 100, "reference_count": 400,
            "days": [],
            "bins": [
                {"name": "01 invoice, refund", "count": 20, "reference_count": 200, "from": None, "to": None},
                {"name": "02", "count": 30, "reference_count": 192, "from": None, "to": None},
                {"name": "unlike all of them", "count": 50, "reference_count": 8, "from": None, "to": None},
            ],
        },
    ],
    "tests": 1, "from": "2026-11-28", "to": "2026-11-28", "reference_from": "2026-11-21",
    "reference_to": "2026-11-27", "more": False,
}  # fmt: skip


def told(answer: object, status: int = 200):
    async def fulfil(route: Route) -> None:
        await route.fulfill(status=status, content_type="application/json", body=json.dumps(answer))

    return fulfil


async def test_drift_shows_what_differs_and_a_feature_has_its_own_link(world, page):
    await page.route(re.compile("/v1/drift"), told(DRIFT))
    await login(world, page, world.env["HEADRACE_API_KEY"], "drift")
    shown = page.get_by_role("region", name="Language")
    await expect(shown).to_contain_text("drifted")
    await expect(shown.get_by_role("row", name=re.compile("de"))).to_contain_text("50.0%")
    await expect(shown.get_by_role("row", name=re.compile("de"))).to_contain_text("10.0%")
    over_time = page.get_by_role("region", name="Index against the same days before")
    await expect(over_time).to_contain_text("11/28/26")
    await expect(over_time).not_to_contain_text("AM")  # days have no hours, in whichever zone they are read
    await accessible(page)
    await page.get_by_role("button", name="Length of the question").click()
    await expect(page).to_have_url(re.compile("of=dev"))
    shown = page.get_by_role("region", name="Length of the question")
    await expect(shown).to_contain_text("too few for a test")
    await expect(shown).to_contain_text("32 to 64")
    await expect(shown).to_contain_text("<b>handbook</b>")
    await page.reload()
    await expect(page.get_by_role("region", name="Length of the question")).to_be_visible()
    await page.get_by_role("button", name="Topic, by meaning").click()
    shown = page.get_by_role("region", name="Topic, by meaning")
    await expect(shown.get_by_role("row", name="1: invoice, refund")).to_contain_text("20.0%")
    await expect(shown.get_by_role("row", name="unlike all of them")).to_contain_text("50.0%")
    await accessible(page)


async def test_the_next_page_comes_below_and_a_failure_is_told(world, page):
    def session(number: int) -> dict:
        return {
            "session": f"talk-{number}", "tenant": "dev", "start_time": None, "end_time": "2026-11-28T12:00:00Z",
            "traces": 1, "errors": 0, "input_tokens": 1, "output_tokens": 1, "cost_usd": "0", "feedback": None,
            "question": f"question {number}", "user": "", "models": ["assistant"],
        }  # fmt: skip

    pages = {
        "": {"data": [session(1)], "next_page_token": "two"},
        "two": {"data": [session(2)], "next_page_token": "three"},
    }

    async def answer(route: Route) -> None:
        token = re.search(r"page_token=(\w+)", route.request.url)
        found = pages.get(token[1] if token else "")
        if found is None:
            await told({"error": {"message": "come again", "code": "busy"}}, 503)(route)
        else:
            await told(found)(route)

    await page.route(re.compile("/v1/sessions"), answer)
    await login(world, page, world.env["HEADRACE_API_KEY"], "sessions")
    more = page.get_by_role("button", name="Older ones")
    await more.click()
    await expect(page.get_by_role("link", name="question 2")).to_be_visible()
    await expect(page.get_by_role("link", name="question 1")).to_be_visible()
    await more.click()
    await expect(page.get_by_role("alert")).to_contain_text("come again")
    await expect(page.get_by_role("link", name="question 2")).to_be_visible()
    pages["three"] = {"data": [session(3)], "next_page_token": ""}
    await more.click()
    await expect(page.get_by_role("link", name="question 3")).to_be_visible()
    await expect(more).to_have_count(0)
    await expect(page.get_by_role("alert")).to_have_count(0)
    await page.get_by_label("Model").fill("assistant")
    await page.get_by_label("Model").press("Enter")
    await expect(page.get_by_role("link", name="question 2")).to_have_count(0)


async def test_a_thinned_trace_says_so(world, page):
    trace_id = "1" * 32
    summary = {"trace_id": trace_id, "tenant": "dev", "spans": 7, "spans_thinned": 7, "status": "ok", "model": "small"}
    found = {
        "trace_id": trace_id, "tenant": "dev", "start_time": "2026-11-28T12:00:00Z", "duration_ms": 12.0,
        "input_tokens": 3, "output_tokens": 4, "cost_usd": "0.00000305", "status": "ok", "spans": [], "feedback": [],
        "spans_left_out": 0, "summary": summary, "decisions": [], "findings": [],
        "content": {"capture": "off", "input": [], "output": [], "passages": []},
    }  # fmt: skip
    await page.route(re.compile(f"/v1/traces/{trace_id}"), told(found))
    await login(world, page, world.env["HEADRACE_API_KEY"], f"traces/{trace_id}")
    await expect(page.get_by_role("note")).to_contain_text("All 7 spans of this trace are gone")
    await expect(page.get_by_role("region", name="Waterfall")).to_have_count(0)
    await expect(page.get_by_role("button", name="Keep the spans")).to_have_count(0)
    await accessible(page)


async def test_budgets_have_a_course_and_admins_see_all_teams(world, page):
    def state(tenant: str) -> dict:
        budget = {
            "per": "month", "budget_usd": "10", "spent_usd": "9", "reserved_usd": "0.5", "remaining_usd": "0.5",
            "resets_at": "2026-12-01T00:00:00Z", "current": True,
        }  # fmt: skip
        limits = {"requests_per_minute": None, "tokens_per_minute": None, "concurrent_requests": 10}
        return {"tenant": tenant, "budgets": [budget] if tenant != "poor" else [], "limits": limits}

    async def answer(route: Route) -> None:
        tenant = re.search(r"tenant=(\w+)", route.request.url)
        await told(state(tenant[1] if tenant else "dev"))(route)

    async def used(route: Route) -> None:
        row = {"requests": 1, "input_tokens": 1, "output_tokens": 1, "cost_usd": "3", "cache_hits": 0, "saved_usd": "0"}
        rows = [{**row, "overhead_usd": "0", "tenant": tenant, "model": f"m-{tenant}"} for tenant in ("dev", "poor")]
        await told({"data": rows})(route)

    await page.route(re.compile("/v1/budget"), answer)
    await page.route(re.compile("/v1/usage"), used)
    await login(world, page, world.env["HEADRACE_ADMIN_KEY"], "usage")
    teams = page.get_by_role("region", name="Budgets of all teams")
    await expect(teams.get_by_role("row", name=re.compile("dev"))).to_contain_text("95%")
    await expect(teams.get_by_role("row", name=re.compile("poor"))).to_contain_text("no budget")
    await accessible(page)
    await teams.get_by_role("link", name="dev").click()
    await expect(page.get_by_role("region", name="Budgets", exact=True)).to_contain_text("$9.00 of $10.00 spent")
    await expect(page.get_by_role("region", name="Spent this month, and its budget", exact=True)).to_be_visible()
    await accessible(page)
