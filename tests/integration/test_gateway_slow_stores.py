"""Stores that hang: connections stay open, nothing comes back, and chat goes on without them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator

import httpx
import psutil
import pytest

from headrace_local.platform import Platform
from tests.integration import answering

CONFIG = """
tenants:
  free: {limits: {requests_per_minute: 1000}}
  closed: {budget: {usd: 1, per: month}}
  opened: {budget: {usd: 1, per: month, fail: open}}
deployments:
  outside:
    engine: openai
    address: http://127.0.0.1:PORT/v1
    model: there
    max_output_tokens: 100
    price: {output_usd_per_million: 1}
models:
  assistant: {deployment: outside, cache: {ttl: 10m}}
"""
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "there",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Upstream(answering.Upstream):
    """Says yes."""

    answer = ANSWER


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with answering.gateway_before(Upstream, tmp_path_factory.mktemp("slow"), CONFIG) as platform:
        yield platform


@contextlib.contextmanager
def frozen(platform: Platform, unit: str) -> Iterator[None]:
    """Nothing of a unit runs meanwhile."""
    process = psutil.Process(platform.status().units[unit].pid)
    stopped = [process, *process.children(recursive=True)]
    try:
        for one in stopped:
            one.suspend()
        yield
    finally:
        for one in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()


@pytest.mark.parametrize("store", ["postgres", "valkey"])
async def test_chat_goes_on_beside_a_store_that_hangs_and_no_row_is_lost(platform, store):
    admin = (platform.layout.secrets / "bootstrap-admin-key").read_text().strip()
    url = f"http://127.0.0.1:{platform.port('gateway-http')}"
    keys, known = {}, {}
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:

        async def chat(tenant: str, **headers: str) -> httpx.Response:
            text = str(uuid.uuid4())  # which no cache knows
            return await http.post(
                "/v1/chat/completions",
                json={"model": "assistant", "messages": [{"role": "user", "content": text}], "temperature": 0},
                headers={"authorization": f"Bearer {keys[tenant]}", **headers},
            )

        async def requests(tenant: str) -> int:
            answer = await http.get("/v1/usage?group_by=model", headers={"authorization": f"Bearer {keys[tenant]}"})
            return sum(row["requests"] for row in answer.json()["data"]) if answer.status_code == 200 else -1

        for tenant in ("free", "closed", "opened"):
            made = await http.post(
                "/v1/admin/keys", json={"tenant": tenant, "name": "t"}, headers={"authorization": f"Bearer {admin}"}
            )
            assert made.status_code == 201, made.text
            keys[tenant] = made.json()["key"]
            before = await requests(tenant)
            assert (await chat(tenant)).status_code == 200  # a slice is leased
            known[tenant] = await until(lambda tenant=tenant: requests(tenant), before + 1)
        with frozen(platform, store):
            for _ in range(3):
                for tenant in keys:
                    answer = await chat(tenant)
                    assert answer.status_code == 200, answer.text
            answer = await chat("free", **{"idempotency-key": str(uuid.uuid4())})
            assert answer.status_code == 200, answer.text
        for tenant, before in known.items():
            await until(lambda tenant=tenant: requests(tenant), before + 3 + (tenant == "free"))


async def until(count, wanted: int) -> int:
    """The number once it is reached; never more than that."""
    async with asyncio.timeout(240):
        while (found := await count()) < wanted:
            await asyncio.sleep(0.2)
    assert found == wanted
    return found
