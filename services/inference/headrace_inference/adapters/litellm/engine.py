"""The engine port over a hosted provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from types import ModuleType
from typing import Any

from headrace_inference.adapters.litellm import answers, request, vectors
from headrace_inference.adapters.litellm.access import Access
from headrace_inference.adapters.litellm.errors import translated
from headrace_inference.adapters.litellm.library import imported, library
from headrace_inference.ports import Chunk, Embeddings, Engine, EngineState, Generation
from headrace_kit.config import Secrets
from headrace_kit.config.deployments import LiteLlmDeployment
from headrace_kit.errors import BadInput, HeadraceError, NotReady, Upstream

_NO_KEY = "none"
"""For an endpoint without keys: the OpenAI client wants some text."""

_LATER_S = 5.0
"""Our own timeout comes first: litellm's does not hold for every provider, and ends differently for each."""


class LiteLlmEngine(Engine):
    """A deployment that is a provider's model. Its key is read at each call; nothing is retried here.

    Args:
        name: the deployment's name.
        config: its config.
        secrets: where the key is.
    """

    def __init__(self, name: str, config: LiteLlmDeployment, secrets: Secrets) -> None:
        self._name, self._config = name, config
        self._access = Access(name, config, secrets)
        self._importing: asyncio.Task[ModuleType] | None = None
        self._unloaded = False

    def check(self, generation: Generation) -> None:
        """See `Engine`."""
        request.check(generation, self._config, imported())

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        litellm, key = await self._start()
        request.check(generation, self._config, litellm)
        request.check_inline(generation)
        want_logprobs = generation.sampling.top_logprobs is not None
        answer: Any = None
        try:
            call = request.arguments(generation, self._config, litellm)
            async with asyncio.timeout(self._config.timeout):
                answer = await litellm.acompletion(**call, **self._common(key))
            self._access.taken()
            if not call["stream"]:
                for complete in answers.whole(answer, want_logprobs=want_logprobs):
                    yield complete
                return
            stream = answers.Stream(want_logprobs=want_logprobs)
            while (part := await self._next(answer)) is not None:
                if (chunk := stream.piece(part)) is not None:
                    yield chunk
            reason = answer.received_finish_reason or answer.intermittent_finish_reason
            yield stream.end(ended_by_provider=reason is not None)
        except Exception as error:
            raise self._failed(error, litellm, key) from error
        finally:
            if hasattr(answer, "aclose"):
                await answer.aclose()  # lets go of the connection at once, wherever the answer was left

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """See `Engine`."""
        litellm, key = await self._start()
        if self._config.task != "embed":
            raise BadInput("this deployment cannot embed", code="unsupported", param="deployment")
        try:
            async with asyncio.timeout(self._config.timeout):
                found = await vectors.embed(texts, self._config, litellm, self._common(key), truncate=truncate)
        except Exception as error:
            raise self._failed(error, litellm, key) from error
        self._access.taken()
        return found

    async def health(self) -> EngineState:
        """See `Engine`. Makes no call to the provider: those cost money."""
        if self._unloaded:
            return EngineState("unloaded")
        if imported() is None:
            if self._importing is None:
                self._importing = asyncio.create_task(library())
            if not self._importing.done():
                return EngineState("loading", "reading the library of providers")
            if (failure := self._importing.exception()) is not None:
                return EngineState("failed", f"litellm cannot be imported: {failure}")
        return self._access.state()

    async def load(self) -> None:
        """See `Engine`. There are no weights: imports the library."""
        try:
            await library()
        except ImportError as error:
            raise Upstream(f"litellm cannot be imported: {error}", code="engine_failed") from error
        self._unloaded = False
        if (state := self._access.state()).state == "failed":
            raise Upstream(f"deployment {self._name!r}: {state.detail}", code="engine_auth")

    async def unload(self) -> None:
        """See `Engine`. There is nothing to free; calls are refused until it is loaded again."""
        self._unloaded = True
        if self._importing is not None and self._importing.done():
            self._importing = None

    async def _start(self) -> tuple[ModuleType, str | None]:
        if self._unloaded:
            raise NotReady(f"deployment {self._name!r} is unloaded")
        return await library(), self._access.key()

    async def _next(self, answer: Any) -> Any:
        """The next part of a stream; None at its end."""
        async with asyncio.timeout(self._config.timeout):
            return await anext(answer, None)

    def _common(self, key: str | None) -> dict[str, Any]:
        config = self._config
        keyless = config.address is not None and config.model.startswith("openai/")
        return {
            "model": config.model,
            "api_key": key or (_NO_KEY if keyless else None),
            "api_base": config.address,
            "api_version": config.api_version,
            "timeout": config.timeout + _LATER_S,
            "max_retries": 0,
            "num_retries": 0,
        }

    def _failed(self, error: Exception, litellm: ModuleType, key: str | None) -> HeadraceError:
        found: HeadraceError = translated(error, litellm, self._name, self._access.secret, (key or "",))
        if found.code == "engine_auth":
            self._access.refused(key)
        elif found.code == "engine_unreached":
            self._access.unreached()
        elif isinstance(found, BadInput):
            self._access.taken()
        return found
