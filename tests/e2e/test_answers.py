"""The main job on real parts: an answer from a document, the same through every door."""

from __future__ import annotations

import asyncio
import json
import uuid

import grpc
import pytest
from openai import APIStatusError, AuthenticationError, BadRequestError, NotFoundError

from headrace_protos.common.v1 import chat_pb2
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc

HANDBOOK = (
    "# Leave\n\nEvery employee has 27 days of paid leave a year.\n\n"
    "# Travel\n\nTrains are booked by the office in Porto.\n"
)
QUESTION = "How many days of paid leave does an employee have?"


async def ingest(world, documents, collection="handbook", key=None):
    async with world.http(key) as client:
        return await client.post(
            f"/v1/collections/{collection}/documents", params={"wait": "true"}, json={"documents": documents}
        )


@pytest.fixture(scope="session")
def handbook(world):
    async def store():
        answer = await ingest(world, [{"id": "handbook.md", "text": HANDBOOK, "title": "Handbook"}])
        assert answer.status_code in (200, 202), answer.text
        assert answer.json()["accepted"] == 1

    asyncio.run(store())
    return "handbook"


async def test_a_model_knows_what_was_said_before_under_an_id(world):
    key, person = await world.key("dev", "assert_identity"), f"ada-{uuid.uuid4().hex[:8]}"
    asked = {"conversation_id": "trip", "user": person}

    async def say(client, **headrace) -> dict:
        body = {
            "model": "conversing",
            "messages": [{"role": "user", "content": '{"tokens": ["By ", "train."]}'}],
            "headrace": asked | headrace,
        }
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async with world.http(key) as client:
        first = await say(client)
        assert first["choices"][0]["message"]["content"] == "By train."
        second = await say(client)
        other = await say(client, conversation_id="another")
        assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"] == other["usage"]["prompt_tokens"]
        kept = (await client.get(f"/v1/memory/{person}/conversations/trip")).json()
        assert [turn["role"] for turn in kept["turns"]] == ["user", "assistant"] * 2
        assert kept["turns"][1]["text"] == "By train."
        erased = (await client.delete(f"/v1/memory/{person}")).json()
        assert (erased["conversations"], erased["turns"], erased["left"]) == (2, 6, 0)
        again = await say(client)
        assert again["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]


async def test_a_real_model_rewrites_what_is_searched_for(world, handbook):
    turns = [{"role": "user", "text": QUESTION}]
    rewrite = {"condense": True, "wordings": 2, "hypothetical": True, "turns": turns}
    async with world.http() as client:
        query = {"query": "And who books trains?", "explain": True, "rewrite": rewrite}
        for _ in range(6):  # on a busy machine its time may be over before the model has said anything
            answer = await client.post(f"/v1/collections/{handbook}/search", json=query)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            if len(found["queries"]) > 1:
                break
        assert query["query"] in found["queries"] and len(found["queries"]) > 1
        assert found["results"][0]["document_id"] == "handbook.md"
        said = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "27 days."}]
        body = {
            "model": "recalling",
            "messages": [*said, {"role": "user", "content": '{"tokens": ["a ", "b "]} Who books trains?'}],
            "headrace": {"collections": [handbook]},
        }
        answered = await client.post("/v1/chat/completions", json=body)
        assert answered.status_code == 200, answered.text


async def test_the_openai_sdk_streams_an_answer_with_exact_citations(world, openai, handbook):
    stream = await openai.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=24,
        temperature=0,  # what a model makes up by chance has no citation
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"headrace": {"collections": [handbook]}},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.strip()
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    last = [c for c in chunks if c.choices and c.choices[0].finish_reason][-1].model_extra["headrace"]
    cited = last["citations"][0]
    assert cited["document_id"] == "handbook.md"
    assert HANDBOOK[cited["span"]["start"] : cited["span"]["end"]] == cited["quote"]
    assert any("27 days" in c["quote"] for c in last["citations"])
    assert last["deployment"] in ("small", "large") and float(last["cost_usd"]) > 0


async def test_one_trace_holds_every_hop_with_tokens_and_cost(world, openai, handbook):
    answer = await openai.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=8,
        extra_body={"headrace": {"collections": [handbook]}},
    )
    headrace = answer.model_extra["headrace"]
    trace = await settled_trace(world, headrace["trace_id"], {"retrieval.Search", "chat smollm2-135m", "guard output"})
    names = " ".join(span["name"] for span in trace["spans"])
    assert "guard input" in names and "guard output" in names, names
    engines = [span for span in trace["spans"] if span["service"] == "inference"]
    engines = [span for span in engines if "triton-llamacpp" in span["attributes"].values()]
    assert [span["name"] for span in engines] == ["chat smollm2-135m"], "the call to Triton has its span"
    ids = {span["span_id"] for span in trace["spans"]}
    roots = [span for span in trace["spans"] if span["parent_span_id"] not in ids]
    assert len(roots) == 1 and roots[0]["service"] == "gateway", roots
    assert trace["input_tokens"] == answer.usage.prompt_tokens
    assert trace["output_tokens"] == answer.usage.completion_tokens
    assert float(trace["cost_usd"]) == float(headrace["cost_usd"]) > 0
    assert trace["content"]["capture"] == "redacted"
    assert QUESTION in json.dumps(trace["content"]["input"])
    assert all(QUESTION not in json.dumps(span["attributes"]) for span in trace["spans"]), "content is kept apart"


async def settled_trace(world, trace_id: str, names: set[str]) -> dict:
    """The trace, once these spans and all parents have arrived (spans are exported in the background)."""
    async with world.http() as client, asyncio.timeout(30):
        while True:
            answer = await client.get(f"/v1/traces/{trace_id}")
            if answer.status_code == 200:
                trace = answer.json()
                arrived = {span["span_id"]: span["name"] for span in trace["spans"]}
                orphans = [s for s in trace["spans"] if s["parent_span_id"] and s["parent_span_id"] not in arrived]
                if names <= set(arrived.values()) and not orphans:
                    return trace
            await asyncio.sleep(0.2)


async def test_another_tenant_sees_neither_document_nor_trace(world, openai, handbook):
    answer = await openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "hello"}], max_tokens=4
    )
    trace_id = answer.model_extra["headrace"]["trace_id"]
    await settled_trace(world, trace_id, {"chat scripted"})
    async with world.http(await world.key("rival")) as rival:
        assert (await rival.get(f"/v1/traces/{trace_id}")).status_code == 404
        search = await rival.post("/v1/collections/handbook/search", json={"query": "paid leave"})
        assert search.status_code == 404, search.text
        chat = await rival.post(
            "/v1/chat/completions",
            json={
                "model": "scripted",
                "messages": [{"role": "user", "content": QUESTION}],
                "headrace": {"collections": ["handbook"]},
            },
        )
        assert chat.status_code == 404, chat.text


async def test_rights_of_documents_hold_for_users_and_groups(world):
    documents = [
        {"id": "anns", "text": "The codeword of Ann is heron.", "acl": {"users": ["ann"]}},
        {"id": "boards", "text": "The codeword of the board is osprey.", "acl": {"groups": ["board"]}},
        {"id": "all", "text": "The codeword of everybody is sparrow.", "acl": {"public": True}},
    ]
    assert (await ingest(world, documents, "secrets")).status_code in (200, 202)
    asserting = await world.key("dev", "assert_identity")

    async def seen(key, **headers):
        async with world.http(key, follow_redirects=False) as client:
            answer = await client.post("/v1/collections/secrets/search", json={"query": "codeword"}, headers=headers)
            assert answer.status_code == 200, answer.text
            return {result["document_id"] for result in answer.json()["results"]}

    assert await seen(None) == {"all"}
    assert await seen(asserting, **{"x-headrace-user": "ann"}) == {"all", "anns"}
    assert await seen(asserting, **{"x-headrace-groups": "board"}) == {"all", "boards"}
    assert await seen(await world.key("dev", "read_all")) == {"all", "anns", "boards"}
    async with world.http() as plain:
        refused = await plain.post(
            "/v1/collections/secrets/search", json={"query": "codeword"}, headers={"x-headrace-user": "ann"}
        )
        assert refused.status_code == 403


async def test_grpc_streams_the_same(world, handbook):
    request = messages_pb2.GenerateRequest(
        model="assistant",
        messages=[chat_pb2.Message(role="user", parts=[chat_pb2.ContentPart(text=QUESTION)])],
        sampling=chat_pb2.Sampling(max_tokens=24, temperature=0),
        headrace=messages_pb2.HeadraceOptions(collections=[handbook]),
    )
    async with grpc.aio.insecure_channel(world.env["HEADRACE_GRPC"]) as channel:
        stub = service_pb2_grpc.GatewayServiceStub(channel)
        metadata = (("authorization", f"Bearer {world.env['HEADRACE_API_KEY']}"), ("application", "gateway"))
        chunks = [chunk async for chunk in stub.GenerateStream(request, metadata=metadata)]
        assert "".join(chunk.text for chunk in chunks).strip()
        outcome = [chunk.headrace for chunk in chunks if chunk.finish_reason][-1]
        assert outcome.citations[0].document_id == "handbook.md"
        models = await stub.ListModels(messages_pb2.ListModelsRequest(), metadata=metadata)
        assert "assistant" in {model.id for model in models.models}
        vectors = await stub.Embed(messages_pb2.EmbedRequest(model="minilm", texts=["a", "b"]), metadata=metadata)
        assert [len(e.values) for e in vectors.embeddings] == [384, 384]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Generate(messages_pb2.GenerateRequest(model="nobody"), metadata=metadata)
        assert caught.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListModels(messages_pb2.ListModelsRequest(), metadata=(("application", "gateway"),))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_embeddings_and_models_by_the_sdk(openai):
    made = await openai.embeddings.create(model="minilm", input=["a stream", "a river"])
    one, two = (e.embedding for e in made.data)
    assert len(one) == 384 and 0.3 < sum(a * b for a, b in zip(one, two, strict=True)) < 1
    assert made.usage.prompt_tokens > 0
    assert {"assistant", "small", "minilm"} <= {model.id async for model in openai.models.list()}


async def test_a_cascade_escalates_and_shows_it(world, openai):
    script = json.dumps({"tokens": ["discarded ", "words"], "logprob": -2.0})
    answer = await openai.chat.completions.create(
        model="unsure", messages=[{"role": "user", "content": script}], max_tokens=8
    )
    assert answer.choices[0].message.content != "discarded words"
    headrace = answer.model_extra["headrace"]
    assert [(s["deployment"], s["verdict"]) for s in headrace["stages"]] == [
        ("scripted", "rejected"),
        ("small", "accepted"),
    ]
    rows = await ledger(world, headrace["trace_id"])
    assert [(r["stage"], r["deployment"], r["verdict"]) for r in rows] == [
        (0, "scripted", "rejected"),
        (1, "small", "accepted"),
    ]
    assert sum(r["cost_nano_usd"] for r in rows) == round(float(headrace["cost_usd"]) * 1e9)


async def test_a_confident_first_stage_is_released(openai):
    script = json.dumps({"tokens": ["kept ", "words"], "logprob": -0.1})
    answer = await openai.chat.completions.create(model="unsure", messages=[{"role": "user", "content": script}])
    assert answer.choices[0].message.content.strip() == "kept words"
    assert [s["verdict"] for s in answer.model_extra["headrace"]["stages"]] == ["accepted"]


async def test_a_stream_escalates_after_its_first_tokens(world, openai):
    text, headrace = await streamed(openai, "choosy", "Name three rivers of Europe.", max_tokens=24)
    assert text
    first, second = headrace["stages"]
    assert (first["deployment"], first["verdict"], first["moment"]) == ("small", "rejected", "early")
    assert (second["deployment"], second["verdict"]) == ("large", "accepted")
    assert 4 <= first["usage"]["output_tokens"] < 24, "it was stopped at its engine"
    rows = await ledger(world, headrace["trace_id"])
    assert [(r["stage"], r["deployment"], r["verdict"]) for r in rows] == [
        (0, "small", "rejected"),
        (1, "large", "accepted"),
    ]
    assert rows[0]["input_tokens"] > 0
    assert rows[0]["confidence"] == first["confidence"] < -0.0001
    assert sum(r["cost_nano_usd"] for r in rows) == round(float(headrace["cost_usd"]) * 1e9)
    trace = await settled_trace(world, headrace["trace_id"], {"chat small", "chat large"})
    attributes = {span["name"]: span["attributes"] for span in trace["spans"]}
    told = attributes["chat small"]
    assert (told["headrace.cascade.verdict"], told["headrace.cascade.moment"]) == ("rejected", "early")
    assert told["headrace.cascade.signal"] == "mean_logprob"
    assert attributes["chat large"]["headrace.cascade.verdict"] == "accepted"


async def test_a_stream_that_is_sure_goes_on_from_the_same_call(world, openai):
    text, headrace = await streamed(openai, "easygoing", "Say hello.", max_tokens=16)
    assert text
    [stage] = headrace["stages"]
    assert (stage["deployment"], stage["verdict"], stage["signal"]) == ("small", "accepted", "margin")
    assert stage["confidence"] > 0
    assert len(await ledger(world, headrace["trace_id"])) == 1


async def test_a_model_says_that_it_does_not_know(openai):
    script = json.dumps({"tokens": ["a ", "guess"], "logprob": -3.0})
    text, headrace = await streamed(openai, "modest", script)
    assert text == "I don't know."
    assert headrace["low_confidence"] == {"signal": "mean_logprob", "then": "say", "value": -3.0}


async def streamed(openai, model: str, content: str, **more) -> tuple[str, dict]:
    """The text of a stream, and the `headrace` object of its end."""
    text, headrace = "", {}
    stream = await openai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], stream=True, **more
    )
    async for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        headrace = (chunk.model_extra or {}).get("headrace") or headrace
    return text, headrace


async def ledger(world, trace_id: str) -> list[dict]:
    """Closed rows of a request in PostgreSQL, in order."""
    import psycopg
    from psycopg.rows import dict_row

    dsn = (world.platform.layout.secrets / "postgres-admin-dsn").read_text().strip()
    async with asyncio.timeout(30):
        while True:
            async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
                found = await connection.execute(
                    "SELECT * FROM gateway.ledger WHERE trace_id = %s ORDER BY stage, attempt", (trace_id,)
                )
                rows = await found.fetchall()
            if rows and all(row["state"] == "closed" for row in rows):
                return rows
            await asyncio.sleep(0.2)


async def test_guardrails_mask_on_the_way_in_and_out_and_block(world, openai):
    script = json.dumps({"tokens": ["write to ann", "@exam", "ple.com now"]})
    stream = await openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": script}], stream=True
    )
    text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert "ann@example.com" not in text and text.startswith("write to") and text.endswith("now")
    with pytest.raises(BadRequestError) as blocked:
        await openai.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "tell me about project-bluebird"}]
        )
    assert blocked.value.code == "content_filter"
    async with world.http() as client:
        answer = await client.post(
            "/v1/guardrails/check",
            json={"policy": "standard", "direction": "input", "text": "mail ann@example.com"},
        )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["action"] == "mask" and "ann@example.com" not in found["text"]
    assert (found["findings"][0]["start"], found["findings"][0]["end"]) == (5, 20)


async def test_a_rollout_splits_by_sticky_key_and_shows_the_arm(world):
    async with world.http(await world.key("dev", "assert_identity")) as client:

        async def arm(user: str) -> str:
            answer = await client.post(
                "/v1/chat/completions",
                json={
                    "model": "swapped",
                    "messages": [{"role": "user", "content": "hi"}],
                    "max_tokens": 1,
                    "headrace": {"user": user},
                },
            )
            assert answer.status_code == 200, answer.text
            return answer.headers["x-headrace-arm"]

        async with asyncio.timeout(60):  # until the candidate is loaded, and the gateway has its grant
            while "candidate" not in {await arm(f"u{n}") for n in range(8)}:
                await asyncio.sleep(0.2)
        arms = {f"u{n}": await arm(f"u{n}") for n in range(24)}
        assert set(arms.values()) == {"baseline", "candidate"}
        assert {user: await arm(user) for user in list(arms)[:6]} == dict(list(arms.items())[:6])


async def test_usage_adds_up(world):
    key = await world.key("limited")
    async with world.http(key) as client:
        for _ in range(3):
            sent = {"model": "scripted", "messages": [{"role": "user", "content": '{"tokens": ["a ", "b"]}'}]}
            assert (await client.post("/v1/chat/completions", json=sent)).status_code == 200
        async with asyncio.timeout(30):
            while True:
                data = (await client.get("/v1/usage", params={"group_by": "model"})).json()["data"]
                if data and data[0]["output_tokens"] == 6:
                    break
                await asyncio.sleep(0.2)
    assert len(data) == 1 and data[0].items() >= {"model": "scripted", "requests": 3, "output_tokens": 6}.items()
    assert float(data[0]["cost_usd"]) > 0


async def test_bad_input_names_the_field(world, openai):
    hello = [{"role": "user", "content": "hello"}]
    with pytest.raises(NotFoundError) as unknown:
        await openai.chat.completions.create(model="nobody", messages=hello)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(BadRequestError) as negative:
        await openai.chat.completions.create(model="small", messages=hello, max_tokens=-1)
    assert negative.value.param == "max_tokens"
    with pytest.raises(BadRequestError) as typed:
        await openai.chat.completions.create(model="small", messages="hello")
    assert typed.value.param == "messages"
    with pytest.raises(APIStatusError) as collection:
        await openai.chat.completions.create(
            model="small", messages=hello, extra_body={"headrace": {"collections": ["nowhere"]}}
        )
    assert collection.value.status_code == 404
    with pytest.raises(AuthenticationError):
        await openai.with_options(api_key="hr_wrong").models.list()
    async with world.http() as client:
        assert (await client.post("/v1/chat/completions", content=b'{"model": ')).status_code == 400
        assert (await client.post("/v1/chat/completions", content=b"\xff\xfe")).status_code == 400
        assert (await client.post("/v1/chat/completions", content=b"[" * 100_000)).status_code == 400
        large = await client.post("/v1/chat/completions", content=b" " * 20_000_000)
        assert large.status_code == 413, large.text
        assert (await client.get("/v1/nothing")).status_code == 404
        assert (await client.get("/v1/chat/completions")).status_code == 405
    async with world.http("") as nobody:
        assert (await nobody.get("/v1/models")).status_code == 401
    limited = await world.key("limited")
    async with world.http(limited) as client:
        refused = await client.post("/v1/chat/completions", json={"model": "small", "messages": hello})
        assert refused.status_code in (403, 404)


async def test_a_revoked_key_is_refused_within_a_second(world):
    async with world.admin() as admin:
        made = (await admin.post("/v1/admin/keys", json={"tenant": "dev", "name": "brief"})).json()
        async with world.http(made["key"]) as client:
            assert (await client.get("/v1/models")).status_code == 200
            assert (await admin.delete(f"/v1/admin/keys/{made['id']}")).status_code in (200, 204)
            async with asyncio.timeout(2):
                while (await client.get("/v1/models")).status_code != 401:
                    await asyncio.sleep(0.05)
    async with world.http() as plain:
        assert (await plain.post("/v1/admin/keys", json={"tenant": "dev", "name": "x"})).status_code == 403


async def test_leaving_a_stream_frees_the_engine(world):
    body = {
        "model": "scripted",
        "messages": [{"role": "user", "content": '{"tokens": 10000, "tokens_per_s": 50}'}],
        "stream": True,
        "max_tokens": 10000,
    }
    async with world.http() as client:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.aiter_lines()
            while not (await anext(lines)).startswith("data: "):
                pass
            trace_id = response.headers["x-headrace-trace-id"]
    rows = await ledger(world, trace_id)
    assert rows[0]["error_code"] == "client_closed_request"
    assert 0 < rows[0]["output_tokens"] < 10000
