"""Spans, a store in memory, and a redactor that knows one secret."""

from __future__ import annotations

from itertools import count

import pytest
from prometheus_client import CollectorRegistry

from headrace_tracing.adapters.memory import MemoryTraceStore
from headrace_tracing.adapters.vault import Vault
from headrace_tracing.domain.prepare import Preparation
from headrace_tracing.domain.redaction import Cleaner
from headrace_tracing.domain.spans import Span
from headrace_tracing.metrics import Metrics

SECRET = "s3cret-value"
_numbers = count(1)


class KnownSecret:
    """`Redactor` that finds `SECRET` and nothing else."""

    def redact(self, text: str) -> str:
        return text.replace(SECRET, "[KNOWN]")


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def cleaner() -> Cleaner:
    return Cleaner(KnownSecret())


@pytest.fixture
def vault() -> Vault:
    return Vault("a secret of the tests")


@pytest.fixture
def preparation(cleaner, vault) -> Preparation:
    """Content is redacted; that of the tenant `vaulted` is kept in full, that of `silent` not at all."""
    return Preparation(cleaner, vault, lambda tenant: {"vaulted": "full", "silent": "off"}.get(tenant, "redacted"))


@pytest.fixture
def store() -> MemoryTraceStore:
    return MemoryTraceStore()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry) -> Metrics:
    return Metrics(registry)


@pytest.fixture
def make_span():
    """Makes a span; what is not given is plain, and each has an id of its own."""

    def make(trace: int = 1, *, tenant: str = "red", start: int = 1000, parent: Span | None = None, **fields) -> Span:
        number = next(_numbers)
        return Span(
            **{
                "trace_id": f"{trace:032x}",
                "span_id": f"{number:016x}",
                "parent_span_id": parent.span_id if parent else "",
                "tenant": tenant,
                "service": "gateway",
                "name": f"span {number}",
                "kind": "internal",
                "start_ns": start,
                "end_ns": start + 10,
                **fields,
            }
        )

    return make
