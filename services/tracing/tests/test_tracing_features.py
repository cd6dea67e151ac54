"""What is read off requests for drift."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, PassageSeen, Turn
from headrace_tracing.domain.features import NOTHING, TOPICS, Features, features
from headrace_tracing.domain.summaries import summarise


def of(question: str = "", answer: str = "", **attributes) -> Features:
    turns = (Turn("system", "You are kind."), Turn("user", question)) if question else ()
    return features(Content(turns, (Turn("assistant", answer),) if answer else ()), attributes)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I reset the password of my account?", "en"),
        ("Wie viele Urlaubstage haben wir in diesem Jahr?", "de"),
        ("Quelle est la durée du congé pour un nouveau collaborateur?", "fr"),
        ("¿Cuál es el plazo para pedir una factura?", "es"),
        ("Come posso chiedere un rimborso per il viaggio?", "it"),
        ("Qual é o prazo para pedir um reembolso?", "pt"),
        ("Hoe vraag ik verlof aan voor volgende week?", "nl"),
        ("有給休暇は何日ありますか", "ja"),
        ("我们每年有多少天假期", "zh"),
        ("휴가는 며칠입니까", "ko"),
        ("Сколько дней отпуска у нас есть?", "cyrillic"),
        ("كم عدد أيام الإجازة؟", "arabic"),
        ("SELECT 1", "other"),
        ("12345", "other"),
    ],
)
def test_languages_are_guessed(text, language):
    assert of(text).language == language


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I cannot do this.",
        "I am unable to share this.",
        "As an AI, I have no opinion.",
        "Es tut mir leid, aber das kann ich nicht sagen.",
        "Je ne peux pas répondre à cette question.",
        "Lo siento, no puedo.",
    ],
)
def test_refusals_are_seen(answer):
    assert of("x", answer).refused == 1


@pytest.mark.parametrize("answer", ["Yes, you can.", "You can't take it over to next year.", "I can help with that."])
def test_answers_are_no_refusals(answer):
    assert of("x", answer).refused == 0


def test_a_filtered_answer_is_a_refusal_and_none_is_not_known():
    assert of("x", "", **{genai.RESPONSE_FINISH_REASONS: ["content_filter"]}).refused == 1
    assert of("x", "").refused is None


def test_topics_follow_the_words_and_not_their_order_or_tokens():
    one = of("Which invoice was refunded yesterday?").topic
    assert of("yesterday: refunded was WHICH invoice [EMAIL_kqzmtpwa]").topic == one
    assert of("a b c").topic is None
    seen = {of(f"wording{letter}{letter * 2}").topic for letter in "abcdefghijklmnopqrstuvwxyz"}
    assert len(seen) > 10 and seen <= set(range(TOPICS))


def test_scores_lengths_and_nothing():
    content = Content(
        (Turn("user", "first"), Turn("assistant", "x"), Turn("user", "twelve chars")),
        passages=(PassageSeen(score=0.2), PassageSeen(score=0.7), PassageSeen()),
    )
    found = features(content, {genai.GROUNDEDNESS: 0.5})
    assert (found.input_chars, found.retrieval_score, found.groundedness) == (12, 0.7, 0.5)
    assert features(None, {}) is NOTHING
    assert features(None, {genai.GROUNDEDNESS: 7}) is NOTHING
    assert features(None, {genai.GROUNDEDNESS: 1}) == Features(groundedness=1.0)


def test_a_trace_has_those_of_its_describing_span(make_span):
    root = make_span(attributes={genai.REQUEST_MODEL: "m"}, content=Content((Turn("user", "How is the weather?"),)))
    later = replace(root, span_id="0" * 15 + "f", start_ns=root.start_ns + 1, content=Content((Turn("user", "Wie?"),)))
    (summary,) = summarise([later, root])
    assert summary.facts.watched.language == "en"
