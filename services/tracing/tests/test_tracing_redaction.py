"""Nothing that should not be stored gets past the cleaner."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry

from headrace_tracing.adapters.redactor import DetectorRedactor
from headrace_tracing.domain.redaction import Cleaner, SizeLimits
from headrace_tracing.domain.spans import Feedback, SpanEvent
from headrace_tracing.metrics import Metrics


def test_every_text_of_a_span_is_looked_at(cleaner, make_span, secret):
    span = cleaner.span(
        make_span(
            name=f"ask {secret}",
            service=secret,
            status_message=f"failed: {secret}",
            attributes={
                "plain": secret,
                "list": ["x", secret, [secret]],
                "map": {"inner": secret, secret: 1},
                secret: "a key",
            },
            events=(SpanEvent(secret, 1, {"exception.message": secret}),),
        )
    )
    assert secret not in repr(span)
    assert span.attributes["list"] == ["x", "[KNOWN]", ["[KNOWN]"]]


@pytest.mark.parametrize(
    "key",
    ["password", "db.password", "api_key", "x-api-key", "http.request.header.authorization", "Cookie", "access_token"],
)
def test_a_value_whose_name_says_secret_is_not_kept(cleaner, make_span, key):
    span = cleaner.span(make_span(attributes={key: "hunter2", "in": {key: ["hunter2"]}}))
    assert "hunter2" not in repr(span)


def test_what_is_no_text_stays_what_it_is(cleaner, make_span):
    attributes = {"n": 7, "x": 0.5, "yes": True, "nothing": None, "gen_ai.usage.input_tokens": 12, "max_tokens": 5}
    assert cleaner.span(make_span(attributes=attributes)).attributes == attributes


def test_ids_are_nobodys_telephone_number(make_span):
    cleaner = Cleaner(DetectorRedactor(Metrics(CollectorRegistry()), b"key"))
    ids = {
        "headrace.request_id": "0198c0a1-4155-7123-8555-012345678901",
        "headrace.config_hash": "4155551234567a90",
        "trace": "41555512345678904155551234567a90",
    }
    assert cleaner.span(make_span(attributes=ids)).attributes == ids
    assert "4111111111111111" not in repr(cleaner.span(make_span(attributes={"card": "4111111111111111"})))


@pytest.mark.parametrize("chars", [100, 20_000, 200_000])
def test_long_texts_are_cut_after_they_were_redacted(cleaner, make_span, secret, chars):
    limit = SizeLimits().text_chars
    # the secret lies across every place where a cut could be
    for at in (chars - len(secret), limit - 5, 4 * limit - 5):
        text = "".join(("x" * max(0, at), secret, "y" * chars))[:chars]
        clean = cleaner.span(make_span(attributes={"text": text})).attributes["text"]
        assert len(clean) <= limit
        assert secret[:6] not in clean


def test_absurd_spans_are_cut_and_say_so(make_span):
    cleaner = Cleaner(DetectorRedactor(Metrics(CollectorRegistry()), b"key"))
    deep: list = []
    for _ in range(100):
        deep = [deep]
    span = cleaner.span(
        make_span(
            name="n" * 10_000,
            attributes={f"key{number}": number for number in range(10_000)} | {"late": deep},
            events=tuple(SpanEvent("e", 1) for _ in range(1000)),
        )
    )
    assert len(span.name) == 256
    assert span.attributes["headrace.dropped_attributes"] == 10_001 - 256
    assert span.attributes["headrace.dropped_events"] == 1000 - 256
    assert len(span.events) == 256
    assert json.dumps(cleaner.span(make_span(attributes={"deep": deep})).attributes).count("[") < 12


def test_nul_characters_are_replaced(cleaner, make_span):
    span = cleaner.span(make_span(name="a\0b", attributes={"k\0": "v\0"}))
    assert "\\x00" not in repr(span)


def test_feedback_is_redacted_too(cleaner, secret):
    said = Feedback("id", "t", "red", "", 1.0, secret, f"because {secret}", 1)
    assert secret not in repr(cleaner.feedback(said))


def test_the_detectors_find_what_they_are_for():
    registry = CollectorRegistry()
    redactor = DetectorRedactor(Metrics(registry), b"key")
    text = redactor.redact("mail ana.lopez@example.org, key sk-proj-A8f3kLmQ29xVb7TzR4wYc1Ns")
    assert "ana.lopez" not in text and "sk-proj" not in text
    again = DetectorRedactor(Metrics(CollectorRegistry()), b"key").redact("to ana.lopez@example.org")
    assert again.removeprefix("to ") in text, "the same value has the same token, wherever it stands"
    assert redactor.redact(text) == text
    other = DetectorRedactor(Metrics(CollectorRegistry()), b"other").redact("to ana.lopez@example.org")
    assert other != again
    found = {
        (sample.labels["check"], sample.labels["kind"])
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "headrace_tracing_findings_total" and sample.value
    }
    assert {("pii", "email"), ("secrets", "openai_key")} <= found
