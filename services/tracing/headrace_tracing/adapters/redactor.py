"""`headrace_detectors` behind the `Redactor` port."""

from __future__ import annotations

from headrace_detectors import Action, Pii, Secrets, compile_checks
from headrace_tracing.metrics import Metrics


class DetectorRedactor:
    """Masks all kinds of personal data and secrets that the detectors know, and counts them by kind."""

    def __init__(self, metrics: Metrics) -> None:
        self._checker = compile_checks([Secrets(action=Action.MASK), Pii(action=Action.MASK)])
        self._metrics = metrics

    def redact(self, text: str) -> str:
        """See `Redactor`."""
        verdict = self._checker.check(text)
        for finding in verdict.findings:
            self._metrics.findings.labels(finding.check, finding.kind).inc()
        return verdict.text
