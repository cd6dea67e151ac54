"""All engines behind one port: inference, and the endpoints outside that the gateway calls itself."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from functools import cache

from headrace_gateway.adapters.openai_http.engine import OpenAiEndpoint
from headrace_gateway.ports import Engine, Envelope
from headrace_kit.config import ConfigStore, Secrets
from headrace_kit.config.deployments import OpenAiDeployment
from headrace_protos.inference.v1 import messages_pb2 as pb


class Engines:
    """Sends each call to where its deployment is; fulfils `Engine`.

    A deployment is looked up in the config that the request was admitted under. Endpoints whose config did not change
    keep their connections over a change of the rest.

    Args:
        inside: the inference service.
        configs: the snapshots.
        secrets: where credentials are.
        tls: makes the TLS context of connections to endpoints, once.
    """

    def __init__(
        self,
        inside: Engine,
        configs: ConfigStore,
        secrets: Secrets,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._inside, self._configs, self._secrets = inside, configs, secrets
        self._tls = cache(tls)
        self._by_hash: dict[str, dict[str, OpenAiEndpoint]] = {}

    def generate(
        self, request: pb.GenerateRequest, sent: Envelope, *, whole: bool
    ) -> AsyncGenerator[pb.GenerateChunk, None]:
        """See `Engine`."""
        return self._of(request.deployment, sent).generate(request, sent, whole=whole)

    async def embed(self, request: pb.EmbedRequest, sent: Envelope) -> pb.EmbedResponse:
        """See `Engine`."""
        return await self._of(request.deployment, sent).embed(request, sent)

    async def rerank(self, request: pb.RerankRequest, sent: Envelope) -> pb.RerankResponse:
        """See `Engine`."""
        return await self._of(request.deployment, sent).rerank(request, sent)

    def close(self) -> None:
        """Close all connections to endpoints outside."""
        for endpoint in {endpoint for known in self._by_hash.values() for endpoint in known.values()}:
            endpoint.abort()
        self._by_hash.clear()

    def _of(self, deployment: str, sent: Envelope) -> Engine:
        known = self._by_hash.get(sent.config_hash)
        if known is None:
            known = self._learn(sent.config_hash)
        return known.get(deployment, self._inside)

    def _learn(self, config_hash: str) -> dict[str, OpenAiEndpoint]:
        snapshot = self._configs.get(config_hash)
        if snapshot is None:
            return {}
        before = [endpoint for known in self._by_hash.values() for endpoint in known.values()]
        made = {}
        for name, config in snapshot.config.deployments.items():
            if isinstance(config, OpenAiDeployment):
                same = (one for one in before if one.name == name and one.config == config)
                made[name] = next(same, None) or OpenAiEndpoint(name, config, self._secrets, self._tls)
        kept = set(self._configs.hashes)
        self._by_hash = {hash_: known for hash_, known in self._by_hash.items() if hash_ in kept}
        self._by_hash[config_hash] = made
        in_use = {id(endpoint) for known in self._by_hash.values() for endpoint in known.values()}
        for endpoint in before:
            if id(endpoint) not in in_use:
                endpoint.close()
        return made
