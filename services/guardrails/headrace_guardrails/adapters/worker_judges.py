"""Checks in worker processes: guardrails-ai's validators, and spaCy's names. Heavy imports stay there."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_detectors import Action, Extra, Finding
from headrace_guardrails.adapters.workers import Workers
from headrace_guardrails.ports import Subject
from headrace_kit.config.guardrails import NamesCheck, ValidatorCheck


class ValidatorJudge:
    """Fulfils `Judge` by a validator of guardrails-ai."""

    def __init__(self, check: ValidatorCheck, workers: Workers) -> None:
        self._check, self._workers = check, workers
        self._job = {"do": "validator", "name": check.name, "arguments": check.arguments}

    def warm(self) -> None:
        """Load the validator in the background."""
        self._workers.warm(self._job)

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._check.name

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`. Raises Upstream."""
        spans = await self._workers.ask({**self._job, "text": text})
        action = Action(self._check.action)
        return [Extra(Finding("validator", self._check.name, start, end, 1.0, action)) for _, start, end in spans]


class NamesJudge:
    """Fulfils `Judge` by spaCy's names."""

    def __init__(self, check: NamesCheck, workers: Workers) -> None:
        self._check, self._workers = check, workers
        self._job = {"do": "names", "model": check.model, "kinds": list(check.kinds)}

    def warm(self) -> None:
        """Load the model in the background."""
        self._workers.warm(self._job)

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._check.model

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`. Raises Upstream."""
        action = Action(self._check.action)
        return [
            Extra(Finding("names", kind, start, end, 0.8, action), text[start:end].casefold())
            for kind, start, end in await self._workers.ask({**self._job, "text": text})
        ]
