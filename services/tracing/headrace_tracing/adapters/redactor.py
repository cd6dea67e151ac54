"""`headrace_detectors` behind the `Redactor` port."""

from __future__ import annotations

from hashlib import blake2b

from headrace_detectors import Action, Pii, Secrets, Session, compile_checks
from headrace_tracing.metrics import Metrics

_LETTERS = 8


class _Tokens(Session):
    """Placeholders that are the same for the same value wherever it stands, for example `[EMAIL_kqzmtpwa]`.

    Letters alone: digits would look like a telephone number to the next check.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self._secret = secret

    def placeholder(self, kind: str, value: str, shown: str = "") -> str:
        """See `Session`."""
        digest = blake2b(f"{kind}\0{value}".encode(errors="replace"), key=self._secret, digest_size=_LETTERS).digest()
        return f"[{kind.upper()}_{''.join(chr(97 + byte % 26) for byte in digest)}]"


class DetectorRedactor:
    """Masks all kinds of personal data and secrets that the detectors know, and counts them by kind.

    Args:
        metrics: where findings are counted.
        secret: key of the tokens, at most 64 bytes: who has it can tell whether a token stands for a value he guesses.
    """

    def __init__(self, metrics: Metrics, secret: bytes) -> None:
        self._checker = compile_checks([Secrets(action=Action.MASK), Pii(action=Action.MASK)])
        self._tokens = _Tokens(secret)
        self._metrics = metrics

    def redact(self, text: str) -> str:
        """See `Redactor`."""
        verdict = self._checker.check(text, self._tokens)
        for finding in verdict.findings:
            self._metrics.findings.labels(finding.check, finding.kind).inc()
        return verdict.text
