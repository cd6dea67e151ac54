"""Cascades that a learned router leads."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace_gateway.fakes import Script
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot
from headrace_kit.config.models import Model
from headrace_kit.errors import Upstream
from headrace_router import save
from headrace_router.fakes import fake_router

SPEC = {"cascade": [{"deployment": "small"}, {"deployment": "large"}]}


def led(rig, folder: Path, quality_per_usd: float, dimensions: int = 0, **learned):
    """The model `assistant` is led by a router."""
    save(fake_router(dimensions), folder / "router.json")
    spec = {**SPEC, "learned": {"file": "router.json", "quality_per_usd": quality_per_usd, **learned}}
    config = rig.table.config
    models = {**config.models, "assistant": Model.model_validate(spec)}
    rig.table = compile_table(Snapshot(config.model_copy(update={"models": models}), folder / "headrace.yaml"))
    return rig


async def read(rig, call):
    ctx = rig.context()
    answer = await rig.pipeline.generate(ctx, call)
    chunks = [chunk async for chunk in answer.chunks()]
    return "".join(chunk.text for chunk in chunks), ctx


async def test_where_cost_counts_the_cheap_answer_is_given(rig, ask, tmp_path):
    led(rig, tmp_path, 1000).engine.scripts["small"] = [Script(["cheap"])]
    text, ctx = await read(rig, ask("assistant", stream=True))
    assert text == "cheap"
    [stage] = ctx.outcome.stages
    assert (stage.verdict, stage.signal, ctx.outcome.deployment) == ("accepted", "expected_quality", "small")
    assert 0 <= stage.confidence <= 1


async def test_where_quality_counts_the_best_is_asked_at_the_end_and_streams(rig, ask, tmp_path):
    led(rig, tmp_path, 0).engine.scripts["small"] = [Script(["cheap"])]
    rig.engine.scripts["large"] = [Script(["good"])]
    text, ctx = await read(rig, ask("assistant", stream=True))
    assert text == "good"
    assert rig.engine.calls[-1].deployment == "large" and not rig.engine.calls[-1].whole
    assert ctx.outcome.deployment == "large"
    verdicts = [(event.deployment, event.verdict) for event in rig.closed()]
    assert verdicts[-1] == ("large", "accepted")
    assert set(verdicts[:-1]) <= {("small", "rejected")}


async def test_a_stage_that_fails_is_left_out(rig, ask, tmp_path):
    led(rig, tmp_path, 1000).engine.scripts["small"] = [Script([], error=Upstream("gone"))]
    rig.engine.scripts["large"] = [Script(["good"])]
    assert (await read(rig, ask("assistant")))[0] == "good"


@pytest.mark.parametrize("away", [False, True])
async def test_the_prompt_is_embedded_where_the_router_wants_it(rig, ask, tmp_path, away):
    led(rig, tmp_path, 1000, 2, embedding="minilm").engine.scripts["small"] = [Script(["cheap"])]
    rig.engine.scripts["large"] = [Script(["good"])]
    if away:
        rig.engine.scripts["minilm"] = [Script(error=Upstream("gone"))]
    text, _ = await read(rig, ask("assistant"))
    assert text in ("cheap", "good")
    embedded = next(event for event in rig.closed() if event.deployment == "minilm")
    assert (embedded.stage, embedded.verdict) == (109, "" if away else "judged")


def test_a_router_that_wants_an_embedding_must_get_one(rig, tmp_path):
    with pytest.raises(ValueError, match="trained with embeddings"):
        led(rig, tmp_path, 1, 2)


def test_a_file_that_is_not_there_refuses_the_config(rig, tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        led(rig, tmp_path, 1, file="elsewhere.json")


@pytest.mark.parametrize(
    "spec",
    [
        {"deployment": "small"},
        {"cascade": [{"deployment": "small"}]},
        {"cascade": [{"deployment": "small"}, {"deployment": "small"}]},
        {"cascade": [{"deployment": "small", "when": {"tools": True}}, {"deployment": "large"}]},
    ],
)
def test_what_a_router_cannot_lead_is_refused(spec):
    with pytest.raises(ValidationError):
        Model.model_validate({**spec, "learned": {"file": "x", "quality_per_usd": 1}})
