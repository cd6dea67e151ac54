"""What the gateway measures of calls of models, under the names of the GenAI conventions."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from headrace_gateway.fakes import Script
from headrace_kit.errors import HeadraceError, Upstream

CALL = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "triton-scripted", "gen_ai_request_model": "small"}


def samples(rig, name: str, **labels: str) -> list[Sample]:
    """Of a histogram, as Prometheus reads them."""
    families = text_string_to_metric_families(generate_latest(rig.registry).decode())
    found = [sample for family in families if family.name == name for sample in family.samples]
    return [sample for sample in found if (CALL | labels).items() <= sample.labels.items()]


def value(found: list[Sample], end: str) -> float:
    [sample] = [sample for sample in found if sample.name.endswith(end)]
    return sample.value


async def test_a_call_is_measured_with_its_span_as_an_example(rig, ask):
    ctx = rig.context()
    await (await rig.pipeline.generate(ctx, ask("plain", "hello"))).whole()
    [closed] = rig.closed()
    seconds = samples(rig, "gen_ai_client_operation_duration_seconds", error_type="")
    assert value(seconds, "_count") == 1
    [example] = [sample.exemplar.labels for sample in seconds if sample.exemplar]
    [hop] = [hop for hop in ctx.hops if hop.name == "chat small"]
    assert example == {"trace_id": ctx.trace_id, "span_id": hop.span_id}
    for kind in ("input", "output"):
        tokens = samples(rig, "gen_ai_client_token_usage", gen_ai_token_type=kind)
        assert value(tokens, "_sum") == getattr(closed.usage, f"{kind}_tokens") > 0
        assert any(sample.exemplar for sample in tokens)


async def test_what_is_not_recorded_is_measured_without_an_example(rig, ask):
    await (await rig.pipeline.generate(rig.context(traced=False), ask("plain", "hello"))).whole()
    seconds = samples(rig, "gen_ai_client_operation_duration_seconds")
    assert value(seconds, "_count") == 1
    assert not any(sample.exemplar for sample in seconds)


async def test_a_call_that_failed_says_how(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=Upstream("gone", code="engine_failed"))]
    with pytest.raises(HeadraceError):
        await (await rig.pipeline.generate(rig.context(), ask("plain", "hello"))).whole()
    assert value(samples(rig, "gen_ai_client_operation_duration_seconds", error_type="engine_failed"), "_count") == 1
    assert samples(rig, "gen_ai_client_token_usage", gen_ai_token_type="output") == []
