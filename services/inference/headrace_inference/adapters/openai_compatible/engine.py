"""The engine port over a server that speaks OpenAI's API."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import AsyncGenerator

import msgspec

from headrace_inference.adapters.openai_compatible.answer import Answer
from headrace_inference.adapters.openai_compatible.dialect import DIALECTS
from headrace_inference.adapters.openai_compatible.metrics import Reader
from headrace_inference.adapters.openai_compatible.request import Requests, check
from headrace_inference.adapters.openai_compatible.server import Server
from headrace_inference.ports import Chunk, Engine, EngineState, EngineStats, Generation
from headrace_inference.rendering.versions import problems
from headrace_kit.config import Secrets
from headrace_kit.config.deployments import ServerDeployment
from headrace_kit.errors import BadInput, HeadraceError, NotReady, Upstream

_SALT_KEY = random.token_bytes(32)
"""Where a deployment names no key: one a process."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class OpenAiCompatibleEngine(Engine):
    """A deployment on a server of its own: vLLM, SGLang, NIM or TGI.

    The server loads its model when it starts. So `load` checks that it serves the model and its adapters, and `unload`
    is refused: who runs the server stops it.

    Args:
        name: the deployment.
        config: its config.
        secrets: where the server's key and the key of tenants' salts are.
    """

    def __init__(self, name: str, config: ServerDeployment, secrets: Secrets) -> None:
        self._name = name
        self._config = config
        self._dialect = DIALECTS[config.engine]
        key = config.tenant_salt
        self._requests = Requests(
            name, config, self._dialect, secrets.require(key).encode() if key is not None else _SALT_KEY
        )
        credentials = config.credentials

        def token() -> str | None:
            return None if credentials is None else secrets.require(credentials)

        self._server = Server(config.address, token, config.timeout)
        self._plain = Server(config.plain_address, token, config.timeout) if config.plain_address else None
        self._reader = Reader(self._dialect.metrics)
        self._version: str | None = None

    def check(self, generation: Generation) -> None:
        """See `Engine`."""
        check(generation, self._config, self._dialect)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`. A request without speculation goes to the plain instance, where there is one that answers."""
        self.check(generation)
        path, body = self._requests.body(generation)
        response_format = str((generation.sampling.response_format or {}).get("type", ""))
        servers = [self._plain, self._server] if self._plain and generation.max_draft_tokens == 0 else [self._server]
        while True:
            try:
                async with servers[0].post(path, body, response_format) as reply:
                    answer = Answer(generation, keeps_stops=self._dialect.keeps_stops)
                    while not answer.complete:
                        data = await reply.read(answer.wait_s(time.monotonic()))
                        if data == b"":
                            break
                        if data is not None:
                            answer.feed(data, time.monotonic())
                        if answer.wait_s(time.monotonic()) == 0 and not answer.complete:
                            for chunk in answer.take():
                                yield chunk
                    for chunk in answer.end():
                        yield chunk
                    await reply.drain()
                return
            except NotReady:
                if len(servers) == 1:
                    raise
                servers.pop(0)
            except BadInput as error:
                # Nobody named a limit, and ours does not fit behind this prompt: what does fit is less.
                unlimited = self._requests.without_limit(path, body)
                limited = generation.sampling.max_tokens is None and body.get("max_tokens") is not None
                if error.code != "context_length_exceeded" or not limited or unlimited is None:
                    raise
                body = unlimited

    async def health(self) -> EngineState:
        """See `Engine`. Ready: the server answers and serves the model and every adapter.

        A server of another version than our requests are made for serves all the same, and `detail` says so.
        """
        state = await self._look()
        if state.state != "ready":
            self._version = None
            return state
        if self._version is None:
            self._version = await self._compared()
        return EngineState("ready", self._version)

    async def _look(self) -> EngineState:
        try:
            status, _ = await self._server.get(self._dialect.health)
            if status == 503 and self._dialect.starting:
                return EngineState("loading", f"{self._dialect.name} at {self._server.address} is starting")
            if status != 200:
                return EngineState(
                    "failed", f"{self._dialect.name} at {self._server.address} is not healthy: status {status}"
                )
            missing = await self._missing()
        except HeadraceError as error:
            return EngineState("failed", error.message)
        return EngineState("failed", missing) if missing else EngineState("ready")

    async def stats(self) -> EngineStats:
        """See `Engine`. From the server's metrics; of the instance that speculates, where there are two."""
        try:
            status, body = await self._server.get(self._dialect.metrics_path)
            if status == 200:
                return self._reader.read(body.decode())
        except (HeadraceError, ValueError):
            pass  # the port promises not to raise, and what cannot be had is None
        return EngineStats()

    async def load(self) -> None:
        """Check that the server serves the deployment. Raises Upstream with what is missing."""
        state = await self.health()
        if state.state != "ready":
            raise Upstream(f"deployment {self._name!r} is {state.state}: {state.detail}", code="engine_failed")

    async def unload(self) -> None:
        """Refused with BadInput: the server holds its weights as long as it runs."""
        raise BadInput(
            f"deployment {self._name!r} is on a {self._dialect.name} server of its own, which holds the weights as "
            "long as it runs: stop that server, or take the deployment out of the config",
            code="unsupported",
            param="deployment",
        )

    async def close(self) -> None:
        """See `Engine`."""
        await self._server.close()
        if self._plain is not None:
            await self._plain.close()

    async def _compared(self) -> str:
        """What does not fit in the server's version, or "" where it fits or cannot be known."""
        path, key = self._dialect.version
        try:
            status, body = await self._server.get(path)
            said = msgspec.json.decode(body).get(key) if status == 200 else None
        except (HeadraceError, msgspec.MsgspecError, AttributeError):
            return ""
        engine = self._config.engine
        return "; ".join(problems(engine, {engine: str(said)})) if said else ""

    async def _missing(self) -> str:
        """What the deployment needs and the server does not serve, or ""."""
        status, body = await self._server.get("/v1/models")
        if status != 200:
            return f"{self._server.address}/v1/models answers with status {status}"
        try:
            served = {model.id for model in msgspec.json.decode(body, type=_Models).data}
        except msgspec.MsgspecError:
            return f"{self._server.address}/v1/models does not answer with a list of models"
        wanted = [self._requests.served_name, *self._config.adapters]  # listed by their own names everywhere
        absent = [model for model in wanted if model not in served]
        if not absent:
            return ""
        return f"{self._server.address} serves {', '.join(sorted(served)) or 'nothing'}, not {', '.join(absent)}"
