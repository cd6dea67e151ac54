"""An endpoint of OpenAI's moderation shape: the one check that may reach outside, and only where a policy names it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from headrace_detectors import Action, Extra, Finding
from headrace_guardrails.ports import Subject
from headrace_kit.config.base import SecretRef
from headrace_kit.config.guardrails import ModerationCheck
from headrace_kit.errors import BadInput, Upstream

_MOST_BYTES = 1 << 20
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A text goes to the address that the policy names, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ModerationJudge:
    """Fulfils `Judge`."""

    def __init__(self, check: ModerationCheck, secret: Callable[[SecretRef], str | None]) -> None:
        parts = urlsplit(check.url)
        if parts.scheme != "https" and parts.hostname not in _LOCAL:
            raise BadInput("must be https, or on this machine", param="url")
        self._check, self._secret = check, secret
        # No proxy of the environment is asked: it would see the text too.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._check.model or ""

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`.

        Raises:
            Upstream: the endpoint failed, or its answer is of another shape.
        """
        sent: dict[str, Any] = {"input": text}
        if self._check.model:
            sent["model"] = self._check.model
        answer = await asyncio.to_thread(self._post, json.dumps(sent).encode())
        try:
            result = json.loads(answer)["results"][0]
            scores = {str(name): float(score) for name, score in result["category_scores"].items()}
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise Upstream("the moderation endpoint's answer is of another shape") from error
        action = Action(self._check.action)
        return [
            Extra(Finding("moderation", name[:64], 0, len(text), min(1.0, max(0.0, score)), action))
            for name, score in scores.items()
            if score >= self._check.threshold and (not self._check.categories or name in self._check.categories)
        ]

    def _post(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        if self._check.key is not None:
            key = self._secret(self._check.key)
            if key is None:
                raise Upstream(f"the secret {self._check.key.secret!r} of the moderation endpoint is not set")
            headers["authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._check.url, body, headers, method="POST")  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._check.timeout_ms / 1000) as answer:
                found: bytes = answer.read(_MOST_BYTES)
                return found
        except (urllib.error.URLError, OSError, TimeoutError) as error:
            raise Upstream(f"the moderation endpoint failed: {type(error).__name__}") from None
