"""The engine port over models of others inside Triton: the vLLM backend, and TensorRT-LLM's `llmapi` model."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path

import msgspec
from tritonclient.grpc import service_pb2 as pb

from headrace_inference.adapters.pending import FLUSH_S
from headrace_inference.adapters.triton.client import ModelError, TritonClient
from headrace_inference.adapters.triton.gpu_answer import GpuAnswer
from headrace_inference.adapters.triton.gpu_check import check
from headrace_inference.adapters.triton.gpu_prompt import Prompt, Prompter
from headrace_inference.adapters.triton.gpu_wire import (
    Lora,
    read,
    tensorrtllm_cancel,
    tensorrtllm_request,
    vllm_request,
)
from headrace_inference.adapters.triton.metrics import TritonMetrics
from headrace_inference.ports import Chunk, Engine, EngineState, EngineStats, Generation
from headrace_kit.config.deployments import TritonGpuDeployment
from headrace_kit.errors import BadInput, HeadraceError, NotReady, Upstream

SILENCE_S = 120.0
"""These models send no sign of life: this is how long a prompt may take to be read, behind others."""

_OWN_WORDS = ("Error generating stream:", "Error generating request:")
_TOO_LONG = ("context length", "maximum model length", "max_model_len", "max_seq_len", "max_num_tokens")
_REFUSED = ("structured", "grammar", "regex", "schema", "lora_name")
_FORMS = {
    "json_schema": ("invalid_json_schema", "response_format.json_schema.schema"),
    "regex": ("invalid_regex", "response_format.regex"),
}
_log = logging.getLogger(__name__)


class _Described(msgspec.Struct):
    """What the rendered model says of itself for us."""

    adapters: dict[str, Lora] = {}


class TritonGpuEngine(Engine):
    """A deployment that is a Triton model of the same name, and `<name>-plain` where it has a plain instance.

    The models take plain text: the chat template and tokenizer of the catalogue entry make the prompt.
    Cancelling: TensorRT-LLM's model is sent a stop, which it heeds at once. vLLM's backend listens to a cancelled call
    only, and looks at that with each token: a request that waits or is being read runs on to its first token. Triton
    2.51 may crash over such a cancel; newer ones, which this backend is pinned to, could not be tried.

    Args:
        name: the deployment.
        config: its config.
        client: the Triton that runs it.
        files: gives the files of a catalogue entry, by name.
        metrics: of that Triton, for what the engine measures of itself.
    """

    takes_over = True

    def __init__(
        self,
        name: str,
        config: TritonGpuDeployment,
        client: TritonClient,
        files: Callable[[str], Mapping[str, Path]],
        metrics: TritonMetrics | None = None,
    ) -> None:
        self._name = name
        self._config = config
        self._client = client
        self._files = files
        self._metrics = metrics
        self._made: Prompter | None = None
        self._loras: dict[str, Lora] | None = None

    def check(self, generation: Generation) -> None:
        """See `Engine`."""
        check(generation, self._config)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`. A request without speculation goes to the plain instance, where there is one that is ready."""
        self.check(generation)
        prompter = await self._prompter()
        prompt = prompter.prompt(generation)
        plain = await self._goes_plain(generation)
        model = f"{self._name}-plain" if plain else self._name
        request, cancel = await self._request(model, prompt, generation, plain)
        cumulative = self._config.engine == "triton-tensorrtllm"
        answer = GpuAnswer(generation, prompt, prompter, cumulative=cumulative)
        top = generation.sampling.top_logprobs or 0
        try:
            async with aclosing(
                self._client.responses(request, cancel, silence_s=SILENCE_S, gather_s=FLUSH_S)
            ) as batches:
                async for batch in batches:
                    for response in batch:
                        if (piece := read(response, top)) is not None:
                            answer.take(piece)
                    if answer.stopped:
                        break
                    for chunk in answer.chunks():
                        yield chunk
        except ModelError as error:
            raise await self._failure(model, str(error), generation) from error
        for chunk in answer.end():
            yield chunk

    async def health(self) -> EngineState:
        """See `Engine`. A plain instance that is not ready is told in `detail`: the other serves in its place."""
        state = await self._client.state(self._name)
        if state.state == "ready" and self._config.plain_instance:
            plain = await self._client.state(f"{self._name}-plain")
            if plain.state != "ready":
                return EngineState("ready", f"its plain instance is {plain.state}: {plain.detail}".rstrip(": "))
        return state

    async def stats(self) -> EngineStats:
        """See `Engine`. Of the instance that speculates, where there are two."""
        return EngineStats() if self._metrics is None else await self._metrics.of(self._name)

    async def load(self) -> None:
        """See `Engine`."""
        try:
            await self._prompter()
        except HeadraceError as error:
            raise Upstream(f"{self._name!r} cannot be loaded: {error.message}", code="engine_failed") from error
        for model in self._models():
            await self._client.load(model)

    async def unload(self) -> None:
        """See `Engine`."""
        for model in self._models():
            await self._client.unload(model)

    def _models(self) -> tuple[str, ...]:
        return (self._name, f"{self._name}-plain") if self._config.plain_instance else (self._name,)

    async def _goes_plain(self, generation: Generation) -> bool:
        if not self._config.plain_instance or generation.max_draft_tokens != 0:
            return False
        return (await self._client.state(f"{self._name}-plain")).state == "ready"

    async def _prompter(self) -> Prompter:
        if self._made is None:
            files = self._files(self._config.model)
            config = self._config
            self._made = await asyncio.to_thread(Prompter, files, config.context_tokens, config.max_output_tokens)
        return self._made

    async def _request(
        self, model: str, prompt: Prompt, generation: Generation, plain: bool
    ) -> tuple[pb.ModelInferRequest, pb.ModelInferRequest | None]:
        """The request, and what cancels it."""
        request_id = secrets.token_hex(8)
        if self._config.engine == "triton-vllm":
            images = list(_images(generation))
            return vllm_request(model, request_id, prompt.text, prompt.max_tokens, generation, images), None
        lora = await self._lora(generation.adapter) if generation.adapter else None
        measure = self._config.speculation.method != "none" and not plain
        request = tensorrtllm_request(model, request_id, prompt.text, prompt.max_tokens, generation, lora, measure)
        return request, tensorrtllm_cancel(model, request_id)

    async def _lora(self, adapter: str) -> Lora:
        """Number and place of an adapter on Triton's machine, which the rendered model tells."""
        if self._loras is None:
            parameters = (await self._client.model_config(self._name)).parameters
            self._loras = msgspec.json.decode(parameters["headrace"].string_value or "{}", type=_Described).adapters
        if adapter not in self._loras:
            raise NotReady(f"the model of {self._name!r} in Triton has no adapter {adapter!r}: render it again")
        return self._loras[adapter]

    async def _failure(self, model: str, message: str, generation: Generation) -> HeadraceError:
        """The model's own words, or Triton's in its place."""
        if not any(words in message for words in _OWN_WORDS):
            return await self._client.failed(model, message)
        if any(words in message for words in _TOO_LONG):
            return BadInput(
                "prompt and answer are longer than the model's context: shorten the prompt, or lower max_tokens",
                code="context_length_exceeded",
                param="messages" if generation.messages else "prompt",
            )
        kind = str((generation.sampling.response_format or {}).get("type", ""))
        if kind in _FORMS and any(word in message.lower() for word in _REFUSED):
            code, param = _FORMS[kind]
            return BadInput("the engine cannot hold an answer to this form", code=code, param=param)
        _log.warning("the model %s failed: %s", model, message)
        return Upstream(f"the engine of {model!r} failed", code="engine_failed")


def _images(generation: Generation) -> list[str]:
    """Base64 of the images, which are data URLs by now."""
    return [
        part["image_url"]["url"].partition("base64,")[2]
        for message in generation.messages
        if not isinstance(message.get("content"), str)
        for part in message.get("content") or ()
        if part["type"] == "image_url"
    ]
