"""A hosted deployment in the service: images by address are inside the request by the time a provider sees it."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from inference_suite.hosted import ANSWER, LITELLM_WARNS, PIXEL, text_of
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Asker, Inference
from headrace_inference.media.inline import Media
from headrace_inference.metrics import Metrics
from headrace_inference.ports import Generation
from headrace_kit.config import parse
from headrace_kit.config.services import Media as MediaSettings
from headrace_kit.errors import BadInput

pytestmark = LITELLM_WARNS

CONFIG = """
deployments:
  hosted: {engine: litellm, model: anthropic/claude-sonnet-4-5, accepts: [image]}
"""


def inference(make, networks):
    deployments = Deployments(lambda name, config: make("anthropic", accepts=["image"]), Metrics(CollectorRegistry()))
    config = parse(CONFIG)
    deployments.add("hosted", config.deployments["hosted"], config.catalogue).phase = "ready"
    return Inference(deployments, NoOpTracer(), Media(MediaSettings(allow_networks=networks)).inline)


async def ask(service, url):
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    asked = Generation(messages=({"role": "user", "content": parts},))
    async with aclosing(service.generate("hosted", asked, Asker("search-team"))) as chunks:
        return [chunk async for chunk in chunks]


async def test_an_image_by_address_reaches_the_provider_as_data(provider, make):
    provider.answer = "anthropic/chat_stream"
    chunks = await ask(inference(make, ["127.0.0.0/8"]), f"{provider.address}/picture.png")
    assert text_of(chunks) == ANSWER
    [seen] = provider.seen
    source = seen.body["messages"][0]["content"][1]["source"]
    assert f"data:{source['media_type']};base64,{source['data']}" == PIXEL


async def test_an_internal_image_ends_the_request_before_the_provider_is_asked(provider, make):
    with pytest.raises(BadInput) as caught:
        await ask(inference(make, []), f"{provider.address}/picture.png")
    assert caught.value.param == "messages[0].content[1].image_url"
    assert provider.seen == []
