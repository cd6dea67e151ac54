"""The last line of defence before storage: no personal data or secret in any text of a span, and no absurd sizes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from headrace_tracing.domain.spans import Feedback, Span, SpanEvent
from headrace_tracing.ports import Redactor

_SHORT_CHARS = 80
_CUT_MARK = "…"
_SURE_TAIL_CHARS = 1024
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=\d*[a-f])(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{64})")
_SECRET_KEY = re.compile(
    r"(?i)(?:^|[._-])(?:password|passwd|passphrase|pwd|secret|api[._-]?key|private[._-]?key|authorization|cookie"
    r"|set[._-]cookie|credentials?|(?:access|refresh|id|auth|bearer)[._-]?token)$"
)
_SECRET = "[SECRET]"  # noqa: S105


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """What of one span is kept. What is over is cut, and the span says so."""

    text_chars: int = 16_384
    content_chars: int = 131_072
    name_chars: int = 256
    attributes: int = 256
    events: int = 256
    items: int = 256
    depth: int = 8


class Cleaner:
    """Makes spans and feedback fit to be stored. Thread-safe.

    Placeholders take the place of what the redactor finds in any text, and of whole values whose name says that they
    are secret. Ids (UUIDs, hexadecimal hashes) are left alone: their digits are nobody's telephone number.
    """

    def __init__(self, redactor: Redactor, limits: SizeLimits = SizeLimits()) -> None:
        self._redactor = redactor
        self._limits = limits
        # Most texts of spans are few and short: names, methods, statuses, addresses.
        self._short = lru_cache(maxsize=16_384)(self._redact)
        self._named = lru_cache(maxsize=4096)(self._name)

    def span(self, span: Span) -> Span:
        """The span as it may be stored."""
        limits = self._limits
        attributes = self._mapping(span.attributes, 0)
        dropped = len(span.attributes) - len(attributes)
        if dropped > 0:
            attributes["headrace.dropped_attributes"] = dropped
        if len(span.events) > limits.events:
            attributes["headrace.dropped_events"] = len(span.events) - limits.events
        return replace(
            span,
            tenant=span.tenant[: limits.name_chars],
            service=self.text(span.service, limits.name_chars),
            name=self.text(span.name, limits.name_chars),
            status_message=self.text(span.status_message),
            attributes=attributes,
            content=span.content.mapped(self._content) if span.content is not None else None,
            events=tuple(
                SpanEvent(self.text(event.name, limits.name_chars), event.time_ns, self._mapping(event.attributes, 0))
                for event in span.events[: limits.events]
            ),
        )

    def feedback(self, feedback: Feedback) -> Feedback:
        """The feedback as it may be stored."""
        return replace(
            feedback,
            label=self.text(feedback.label),
            comment=self.text(feedback.comment),
            correction=self._content(feedback.correction),
        )

    def _content(self, text: str) -> str:
        return self.text(text, self._limits.content_chars)

    def text(self, text: str, most_chars: int | None = None) -> str:
        """A text as it may be stored, at most `most_chars` long."""
        most = most_chars or self._limits.text_chars
        if len(text) <= most:
            return self._short(text) if len(text) <= _SHORT_CHARS else self._redact(text)
        # Redacted before it is cut: half of a secret would not be known for one. Still only so much is looked at,
        # and the end of that, which may itself be half of one, is never kept.
        seen = max(4 * most, most + _SURE_TAIL_CHARS)
        clean = self._redact(text[:seen])
        if len(text) > seen:
            clean = clean[:-_SURE_TAIL_CHARS]
        return clean if len(clean) <= most else clean[: most - 1] + _CUT_MARK

    def _redact(self, text: str) -> str:
        if "\0" in text:
            text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL stores none
        return text if _ID.fullmatch(text) else self._redactor.redact(text)

    def _name(self, key: str) -> tuple[str, bool]:
        """A key as it may be stored, and whether it says that its value is secret."""
        return self.text(key, self._limits.name_chars), _SECRET_KEY.search(key) is not None

    def _mapping(self, attributes: Mapping[str, Any], depth: int) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        most = self._limits.attributes
        for key, value in attributes.items() if len(attributes) <= most else _first_of(attributes, most):
            name, secret = self._named(key) if len(key) <= _SHORT_CHARS else self._name(key)
            if secret and value not in ("", None):
                clean[name] = _SECRET
            elif isinstance(value, str):
                clean[name] = self._short(value) if len(value) <= _SHORT_CHARS else self.text(value)
            else:
                clean[name] = self._value(value, depth)
        return clean

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1) if depth < self._limits.depth else _CUT_MARK
        if isinstance(value, list):
            if depth >= self._limits.depth:
                return _CUT_MARK
            return [self._value(item, depth + 1) for item in value[: self._limits.items]]
        return value


def _first_of(attributes: Mapping[str, Any], most: int) -> Iterable[tuple[str, Any]]:
    return itertools.islice(attributes.items(), most)
