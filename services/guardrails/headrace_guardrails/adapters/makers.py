"""What makes the judge of each check of tier 2 and 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headrace_guardrails.adapters.compile import Make
from headrace_guardrails.adapters.inference import Inference
from headrace_guardrails.adapters.json_schema import JsonSchemaJudge
from headrace_guardrails.adapters.labels import ClassifierJudge
from headrace_guardrails.adapters.language_model import LanguageModelJudge
from headrace_guardrails.adapters.moderation import ModerationJudge
from headrace_guardrails.adapters.worker_judges import NamesJudge, ValidatorJudge
from headrace_guardrails.adapters.workers import Workers
from headrace_guardrails.injection.judge import InjectionJudge
from headrace_kit.config import guardrails as config
from headrace_kit.config.services import Guardrails as Settings
from headrace_kit.hosting import ServiceRuntime


class Makers:
    """Makes judges, and owns what they share: the connection to inference and the pool of workers."""

    def __init__(self, runtime: ServiceRuntime, settings: Callable[[], Settings]) -> None:
        self._runtime = runtime
        self._inference = Inference(runtime.peer("inference"))
        self._workers = Workers(lambda: settings().workers)
        self._cold: list[NamesJudge | ValidatorJudge] = []
        self._running = False

    def by_check(self) -> Mapping[str, Make]:
        """A maker for each check of tier 2 and 3."""
        return {
            "injection": self._injection,
            "classifier": lambda check, _: ClassifierJudge(check, self._inference),
            "names": lambda check, _: self._warmed(NamesJudge(check, self._workers)),
            "json_schema": lambda check, _: JsonSchemaJudge(check),
            "validator": lambda check, _: self._warmed(ValidatorJudge(check, self._workers)),
            "moderation": lambda check, _: ModerationJudge(check, self._runtime.secrets.get),
            "judge": lambda check, _: LanguageModelJudge(check, self._inference),
        }

    async def start(self) -> None:
        """Load what the checks made so far need; for those made later it begins when they are."""
        self._running = True
        while self._cold:
            self._cold.pop().warm()

    def _warmed(self, judge: NamesJudge | ValidatorJudge) -> NamesJudge | ValidatorJudge:
        if self._running:
            judge.warm()
        else:
            self._cold.append(judge)
        return judge

    async def stop(self) -> None:
        """End the workers."""
        await self._workers.stop()

    def _injection(self, check: Any, direction: str) -> InjectionJudge:
        assert isinstance(check, config.InjectionCheck)
        folder = self._runtime.configs.current.path.parent
        return InjectionJudge(check, direction, self._inference, folder)
