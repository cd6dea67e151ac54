"""Searches with queries that a model rewrites: what is found, and what happens without the model."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import BadInput
from headrace_protos.retrieval.v1 import messages_pb2 as pb

_spec = importlib.util.spec_from_file_location("retrieval_replica", Path(__file__).with_name("retrieval_replica.py"))
kit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kit)
document = kit.document

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG
WRITING = CONFIG.replace(
    "grpc_port: 0, ops_port: 0}", "grpc_port: 0, ops_port: 0}, rewriter: small, rewrite_timeout: 1s"
)
BM25, VECTOR, HYBRID = pb.SEARCH_MODE_BM25, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID
TURNS = [pb.Turn(role="user", text="How deep is the basin of Lindau?"), pb.Turn(role="assistant", text="Nine metres.")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(part) -> AsyncIterator[kit.Replica]:
    async with kit.serving(part, WRITING) as running:
        await running.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name="basins")))
        await running.ingest(
            "basins",
            document("kehl", "The basin of Kehl is seven metres deep."),
            document("gate", "A sluice closes within a minute."),
            document("noise", "Lunch is served at noon."),
        )
        yield running


@pytest.fixture
def replica(shared) -> kit.Replica:
    shared.models.away, shared.models.think_s = False, 0.0
    shared.models.answers, shared.models.asked = {}, []
    return shared


def degraded(replica) -> float:
    return replica.runtime.registry.get_sample_value("headrace_retrieval_degraded_total", {"stage": "rewrite"}) or 0


async def test_a_question_that_needs_its_conversation_finds_with_it(replica):
    replica.models.answers = {"Rewrite": "How deep is the basin of Kehl?"}
    asked = {"mode": BM25, "explain": True}
    rewrite = pb.Rewrite(condense=True, turns=TURNS)
    found = await replica.search("basins", "And there?", rewrite=rewrite, **asked)
    assert [one.document_id for one in found.results][:1] == ["kehl"]
    assert list(found.queries) == ["How deep is the basin of Kehl?", "And there?"]
    assert await replica.ids("basins", "And there?", mode=BM25) == []
    (deployment, _, user), *_ = replica.models.asked
    assert found.rewriting.input_tokens > 10 and found.rewriting.output_tokens == 7
    assert not (await replica.search("basins", "Kehl", **asked)).HasField("rewriting")
    assert deployment == "small" and "basin of Lindau" in user


@pytest.mark.parametrize("mode", [BM25, VECTOR, HYBRID])
async def test_other_wordings_find_what_the_query_does_not_name(replica, mode):
    replica.models.answers = {"other ways": "How fast is the sluice closed?\nTime until a gate is shut"}
    assert "gate" not in await replica.ids("basins", "weir speed", mode=BM25)
    found = await replica.search("basins", "weir speed", mode=mode, rewrite=pb.Rewrite(wordings=2), explain=True)
    assert found.results[0].document_id == "gate"
    assert list(found.queries) == ["weir speed", "How fast is the sluice closed?", "Time until a gate is shut"]
    assert len({one.chunk_id for one in found.results}) == len(found.results)


async def test_a_made_up_answer_counts_for_vectors_alone(replica):
    replica.models.answers = {"passage": "A sluice closes within two minutes."}
    rewrite = pb.Rewrite(hypothetical=True)
    found = await replica.search("basins", "weir speed", rewrite=rewrite, explain=True)
    assert found.results[0].document_id == "gate"
    scores = dict(found.results[0].scores)
    assert scores["hypothetical"] > scores.get("vector", 0.0), "`vector` stays the similarity to what was asked"
    assert await replica.ids("basins", "weir speed", rewrite=rewrite, mode=BM25) == []


@pytest.mark.parametrize("fault", ["away", "slow"])
async def test_without_the_model_the_query_is_searched_for_as_it_is_and_that_is_counted(replica, fault):
    before = degraded(replica)
    if fault == "slow":
        replica.models.think_s = 30.0
    else:
        replica.models.answers = {"other ways": ""}
    found = await replica.search("basins", "sluice", mode=BM25, rewrite=pb.Rewrite(wordings=2), explain=True)
    assert [one.document_id for one in found.results] == ["gate"] and list(found.queries) == ["sluice"]
    assert degraded(replica) == before + 1


async def test_rewriting_is_refused_where_no_model_does_it_and_bad_options_are_named(replica):
    for rewrite, param in (
        (pb.Rewrite(wordings=6), "rewrite.wordings"),
        (pb.Rewrite(condense=True, turns=[pb.Turn(role="tool", text="x")]), "rewrite.turns[0].role"),
    ):
        with pytest.raises(BadInput) as refused:
            await replica.search("basins", "water", rewrite=rewrite)
        assert refused.value.param == param
    replica.runtime.configs.replace(Snapshot(parse(CONFIG), Path("headrace.yaml")))
    try:
        with pytest.raises(BadInput, match=r"services\.retrieval\.rewriter"):
            await replica.search("basins", "water", rewrite=pb.Rewrite(wordings=1))
        assert await replica.ids("basins", "sluice", rewrite=pb.Rewrite(condense=True), mode=BM25) == ["gate"]
    finally:
        replica.runtime.configs.replace(Snapshot(parse(WRITING), Path("headrace.yaml")))
