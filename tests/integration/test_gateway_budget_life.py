"""A budget on a running gateway, with PostgreSQL and Valkey: spent, refused, flushed, crashed, and told."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import httpx
import pytest

from headrace_kit.stores.valkey import connect
from tests.integration import answering

# A call costs 1,000 x $1 / 10^6 = $0.001 (and may cost more: each byte of the input might be a token).
CONFIG = """
tenants:
  dev: {budget: {usd: 0.01, per: month, alerts: [50%]}}
deployments:
  outside:
    engine: openai
    address: http://127.0.0.1:PORT/v1
    model: there
    max_output_tokens: 1000
    price: {output_usd_per_million: 1}
models:
  assistant: {deployment: outside}
services:
  gateway: {notify: [{url: "http://127.0.0.1:PORT/alerts"}], webhook_hosts: [127.0.0.1]}
"""
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "there",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1000, "total_tokens": 1003},
}


class Upstream(answering.Upstream):
    """Answers each call with a thousand tokens; takes alerts."""

    answer = ANSWER
    alerts: ClassVar[list[dict[str, str]]] = []

    def seen(self, sent: bytes) -> None:
        if self.path == "/alerts":
            self.alerts.append(json.loads(sent))


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with answering.gateway_before(Upstream, tmp_path_factory.mktemp("budget"), CONFIG) as platform:
        yield platform


async def until(ask, wanted, within_s=30):
    """Ask until the answer is as wanted; returns it."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                answer = await ask()
            except httpx.TransportError:
                answer = None
            if answer is not None and wanted(answer):
                return answer
            await asyncio.sleep(0.05)


async def test_a_budget_holds_over_its_whole_life(platform):
    admin = (platform.layout.secrets / "bootstrap-admin-key").read_text().strip()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{platform.port('gateway-http')}",
        headers={"authorization": f"Bearer {admin}"},
        timeout=30,
    ) as http:
        made = await http.post("/v1/admin/keys", json={"tenant": "dev", "name": "t"})
        assert made.status_code == 201, made.text
        http.headers["authorization"] = f"Bearer {made.json()['key']}"

        async def chat():
            return await http.post(
                "/v1/chat/completions", json={"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
            )

        async def budget():
            answer = await http.get("/v1/budget")
            return answer.json()["budgets"][0] if answer.status_code == 200 else None

        for _ in range(4):
            answer = await chat()
            assert (answer.status_code, answer.headers["x-headrace-cost-usd"]) == (200, "0.001"), answer.text
        assert (await budget())["spent_usd"] == "0.004"

        # The store forgets everything: nothing is given away twice.
        valkey = connect((platform.layout.secrets / "valkey-url").read_text().strip())
        await valkey.flushall()
        await valkey.aclose()
        await until(chat, lambda answer: answer.status_code == 200)
        assert (await budget())["spent_usd"] == "0.005"

        # The gateway dies: what it had leased is free again when its log was taken over. What an answer of an endpoint
        # outside cost is known from the log alone, where it stands within `log_fsync_ms`.
        await asyncio.sleep(0.5)
        platform.kill("gateway")
        await until(chat, lambda answer: answer.status_code == 200, 120)
        assert (await budget())["spent_usd"] == "0.006"

        answers = [await until(chat, lambda answer: answer.status_code in (200, 402), 90) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 402]
        assert answers[-1].json()["error"]["code"] == "budget_exceeded"

        # What was on its way to the dead gateway is delivered again after a while.
        usage = await until(
            lambda: http.get("/v1/usage?group_by=model"),
            lambda answer: answer.status_code == 200 and answer.json()["data"][0]["cost_usd"] == "0.01",
            120,
        )
        assert usage.json()["data"][0]["requests"] == 10
        http.headers["authorization"] = f"Bearer {admin}"
        noted = await until(
            lambda: http.get("/v1/admin/audit?tenant=dev&action=budget.alert"),
            lambda answer: answer.status_code == 200 and answer.json()["data"],
        )
        [alert] = noted.json()["data"]
        assert alert["after"]["threshold"] == "50%"
        async with asyncio.timeout(30):
            while not Upstream.alerts:
                await asyncio.sleep(0.05)
        assert [(told["tenant"], told["threshold"], told["budget_usd"]) for told in Upstream.alerts] == [
            ("dev", "50%", "0.01")
        ]
