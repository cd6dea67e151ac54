"""Answers given again, by real models, stores and documents."""

from __future__ import annotations

import asyncio

import uuid_utils


async def ask(world, question, collections=(), **options):
    body = {
        "model": "remembering",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 12,
        "headrace": {"collections": list(collections), **options},
    }
    async with world.http() as client:
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return answer.headers["x-headrace-cache"], found["choices"][0]["message"]["content"], found["headrace"]


async def remembered(world, question, *args):
    """The first answer, when it has reached the store: it is written beside the request."""
    _, first, _ = await ask(world, question, *args)
    async with asyncio.timeout(20):
        while (await ask(world, question, *args))[0] != "hit":
            await asyncio.sleep(0.1)
    return first


async def saved(world):
    async with world.http() as client:
        rows = (await client.get("/v1/usage", params={"group_by": "model"})).json()["data"]
        found = [(row["cache_hits"], float(row["saved_usd"])) for row in rows if row["model"] == "remembering"]
        return found[0] if found else (0, 0)


async def test_an_answer_is_given_again_also_to_other_words_and_not_to_another_meaning(world):
    topic = str(uuid_utils.uuid7())[-6:].translate(str.maketrans("0123456789", "ghijklmnop"))
    first = await remembered(world, f"How do I reset the password of my {topic} account?")
    cache, text, told = await ask(world, f"How can I reset the password of my {topic} account?")
    assert (cache, text) == ("hit", first) and float(told["saved_usd"]) > 0
    assert told["cost_usd"] == told["stages"][0]["cost_usd"], "only the comparison of the questions was paid for"
    assert [stage["deployment"] for stage in told["stages"]] == ["minilm"]
    assert (await ask(world, f"How do I not reset the password of my {topic} account?"))[0] == "miss"
    assert (await ask(world, f"How do I reset the password of my {topic} account?", cache="bypass"))[0] == "bypass"
    async with asyncio.timeout(30):
        while (found := await saved(world))[0] < 2:
            await asyncio.sleep(0.2)
    assert found[1] > 0


async def test_an_answer_from_a_document_that_was_deleted_is_made_anew(world):
    name = f"cache-{str(uuid_utils.uuid7())[-12:]}"
    documents = [{"id": "a", "text": "The lake is called Heron Lake."}, {"id": "b", "text": "The hill is Finch Hill."}]
    async with world.http() as client:
        made = await client.post("/v1/collections", json={"name": name, "acl": "none"})
        assert made.status_code == 201, made.text
        sent = await client.post(f"/v1/collections/{name}/documents?wait=true", json={"documents": documents})
        assert sent.status_code in (200, 202), sent.text
        await remembered(world, "What is the lake called?", [name])
        assert (await ask(world, "What is the lake called?", [name]))[0] == "hit"
        assert (await client.delete(f"/v1/collections/{name}/documents/a")).status_code in (200, 204)
        cache, _, told = await ask(world, "What is the lake called?", [name])
        assert cache == "miss"
        assert "a" not in {cited["document_id"] for cited in told["citations"]}
