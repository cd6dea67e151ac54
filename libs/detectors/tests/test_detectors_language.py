"""Languages: told where they can be, and the same however a text is cut."""

from __future__ import annotations

import random

import pytest

from headrace_detectors import Action, Language, Length, Pii, compile_checks

TEXTS = {
    "en": "What should I do when the train to the airport is late and there is no other one that evening?",
    "de": "Was kann ich machen, wenn der Zug zum Flughafen zu spät ist und es keinen anderen gibt?",
    "fr": "Que dois-je faire si le train pour aller à l'aéroport est en retard et qu'il n'y en a pas d'autre ?",
    "es": "¿Qué hago si el tren al aeropuerto llega tarde y no hay otro esa noche para los que esperan?",
    "it": "Che cosa devo fare se il treno per l'aeroporto è in ritardo e non ce ne sono altri questa sera?",
    "pt": "O que devo fazer se o trem para o aeroporto está atrasado e não há outro para você?",
    "nl": "Wat moet ik doen als de trein naar het vliegveld te laat is en er geen andere is?",
    "sv": "Vad ska jag göra om tåget till flygplatsen är sent och det inte finns något annat?",
    "pl": "Co mam zrobić, jeśli pociąg na lotnisko jest spóźniony i nie ma innego tego wieczoru?",
    "tr": "Havaalanına giden tren çok geç kalırsa ve başka bir tren yoksa ne yapmam lazım?",
    "vi": "Tôi phải làm gì nếu tàu đến sân bay bị trễ và không có chuyến khác?",
    "ru": "Что мне делать, если поезд в аэропорт опоздает, а другого в этот вечер не будет?",
    "uk": "Що мені робити, якщо потяг до аеропорту запізниться, і чи є інший?",
    "el": "Τι να κάνω αν το τρένο για το αεροδρόμιο αργήσει;",
    "ar": "ماذا أفعل إذا تأخر القطار إلى المطار؟",
    "hi": "अगर हवाई अड्डे की ट्रेन देर से आए तो मैं क्या करूँ?",
    "th": "ฉันควรทำอย่างไรถ้ารถไฟไปสนามบินมาสาย",
    "zh": "如果去机场的火车晚点了，我该怎么办？",
    "ja": "空港行きの電車が遅れたらどうすればいいですか。",
    "ko": "공항으로 가는 기차가 늦으면 어떻게 해야 하나요?",
}
ENGLISH = compile_checks([Language(allow=("en",), action=Action.FLAG)])
LONG = f"{TEXTS['en']} " * 6 + f"{TEXTS['de']} " * 5 + f"{TEXTS['fr']} " * 5


@pytest.mark.parametrize("language", sorted(set(TEXTS) - {"en"}))
def test_another_language_is_told(language):
    (found,) = ENGLISH.check(TEXTS[language]).findings
    assert (found.check, found.kind, found.action) == ("language", language, Action.FLAG)
    allowing = compile_checks([Language(allow=("en", language), action=Action.FLAG)])
    assert allowing.check(TEXTS[language]).action is Action.ALLOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXTS["en"],
        "hi",
        "Ana Müller, Straße 7",
        "SELECT * FROM users WHERE id = 7;",
        "for (int i = 0; i < n; i++) { sum += a[i]; }",
        "12 345,67 € / ✅✅",
        "Die, the singular of dice, and the article of a German noun",
        "Please translate: Ich bin müde.",
    ],
)
def test_what_is_allowed_or_cannot_be_told_passes(text):
    assert ENGLISH.check(text).findings == ()


@pytest.mark.parametrize("part", range(20))
def test_however_it_is_cut_the_same_is_found_in_the_same_order(part):
    chance = random.Random(part)
    checker = compile_checks(
        [Pii(), Length(max_chars=900, action=Action.FLAG), Language(allow=("en",), action=Action.FLAG)]
    )
    text = LONG[: chance.randrange(300, len(LONG))] + " ana@example.org " + LONG[: chance.randrange(300)]
    whole = checker.check(text)
    stream, out, at = checker.stream(), "", 0
    while at < len(text):
        size = chance.choice((1, 3, 20, 300))
        out += stream.feed(text[at : at + size])
        at += size
    assert out + stream.finish() == whole.text
    assert stream.findings == whole.findings


def test_a_stream_in_another_language_ends_once_it_is_known():
    stream = compile_checks([Language(allow=("en",))]).stream()
    out = "".join(stream.feed(piece) for piece in (TEXTS["de"] + " ") * 20)
    assert stream.action is Action.BLOCK
    assert len(out) <= 200


def test_one_character_waits_for_it_and_no_more():
    stream = ENGLISH.stream()
    assert stream.feed("The weather") == "The weathe"
    assert stream.finish(" is fine.") == "r is fine."
