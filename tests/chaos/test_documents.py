"""Documents keep arriving while what makes them searchable is killed at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import httpx
import psycopg
import pytest

WRITERS, KILLS = 3, 6
WITHIN_S = 240


async def write(world, number: int, collection: str, seed: int, over: asyncio.Event) -> dict[str, str]:
    """Store and replace documents until `over`; the last text of each that was acknowledged."""
    dice = random.Random(f"{seed} {number}")
    acknowledged: dict[str, str] = {}
    async with world.http() as client:
        round = 0
        while not over.is_set():
            round += 1
            sent = []
            for one in dice.sample(range(12), 4):
                words = " ".join(f"Basin {number} holds water of round {round}." for _ in range(dice.randint(1, 25)))
                sent.append({"id": f"w{number}-{one}", "text": f"Marker w{number}x{one} round {round}. {words}"})
            try:
                answer = await client.post(
                    f"/v1/collections/{collection}/documents", json={"documents": sent}, timeout=20
                )
            except httpx.HTTPError:
                continue  # whether it was stored is not known
            if answer.status_code == 202:
                acknowledged |= {document["id"]: document["text"] for document in sent}
            else:
                assert answer.status_code in (429, 502, 503, 504), answer.text
            await asyncio.sleep(dice.uniform(0, 0.05))
    return acknowledged


def round_of(text: str) -> int:
    return int(text.split(" round ")[1].split(".")[0])


async def settled(world) -> None:
    """Returns once nothing waits in the queue; fails where a document was given up."""
    dsn = (world.platform.layout.secrets / "postgres-admin-dsn").read_text().strip()
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(dsn) as connection:
                    rows = await connection.execute("SELECT state, count(*) FROM retrieval.job_items GROUP BY state")
                    states = dict(await rows.fetchall())
                    assert not states.get("failed"), "no document is given up because a part was killed"
                    if not states.get("queued"):
                        return
            except psycopg.OperationalError:
                pass  # it is being restarted
            await asyncio.sleep(0.2)


async def ask(client, method: str, path: str, **sent):
    """The answer once the platform serves again."""
    async with asyncio.timeout(90):
        while True:
            try:
                answer = await client.request(method, path, **sent)
                if answer.status_code == 200:
                    return answer.json()
                assert answer.status_code in (429, 502, 503, 504), answer.text
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.3)


@pytest.mark.parametrize("seed", range(2))
async def test_killed_at_random_moments_every_acknowledged_document_is_searchable_exactly_once(own_world, seed):
    world, dice, collection = own_world, random.Random(seed), f"killed{seed}"
    async with world.http() as client:
        assert (await client.post("/v1/collections", json={"name": collection})).status_code == 201
        over = asyncio.Event()
        writers = [asyncio.create_task(write(world, number, collection, seed, over)) for number in range(WRITERS)]
        units = ["retrieval", "postgres", "inference"] * (KILLS // 3)
        dice.shuffle(units)
        for unit in units:
            await asyncio.sleep(dice.uniform(0.2, 3))
            with contextlib.suppress(LookupError):  # it is being started again since the last time
                world.platform.kill(unit)
        await asyncio.sleep(1)
        over.set()
        acknowledged: dict[str, str] = {}
        for writer in writers:
            acknowledged |= await writer
        assert acknowledged
        await settled(world)
        documents = f"/v1/collections/{collection}/documents"
        end = {"documents": [{"id": "end", "text": "The end of the basins."}]}
        await ask(client, "POST", documents, params={"wait": "true"}, json=end)
        for id, text in acknowledged.items():
            stored = await ask(client, "GET", f"{documents}/{id}")
            assert round_of(stored["text"]) >= round_of(text), "never older than what was acknowledged"
            for mode in ("bm25", "vector"):
                query = {"query": stored["text"][:200], "mode": mode, "top_k": 100}
                found = await ask(client, "POST", f"/v1/collections/{collection}/search", json=query)
                own = [one for one in found["results"] if one["document_id"] == id]
                spans = Counter((one["span"]["start"], one["span"]["end"]) for one in own)
                assert max(spans.values(), default=0) <= 1, "no passage is there twice"
                assert all(stored["text"][one["span"]["start"] : one["span"]["end"]] == one["text"] for one in own)
                if mode == "bm25":
                    assert (0, id) in {(one["span"]["start"], one["document_id"]) for one in own}, "it is searchable"
        chunks = (await ask(client, "GET", documents, params={"limit": "1000"}))["data"]
        assert all(info["searchable"] and info["chunks"] for info in chunks)
