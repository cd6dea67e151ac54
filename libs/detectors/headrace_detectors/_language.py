"""Which language a text is in: by its script, and in Latin and Cyrillic script by its most frequent small words.

Libraries for it hold models of 100 MB or more in memory, which is too much for every process that checks text. This
says less: only the languages below, and nothing where a text has too few words to tell.
"""

# ruff: noqa: RUF001  letters of other scripts are meant as they stand

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

WINDOW_CHARS = 200
"""Code points that are looked at together: about 35 words."""

_WORD = re.compile(r"[^\W\d_]+")
_LEAST_WORDS = 2
_LEAST_LETTERS = 4
_MOST_OF = 0.6
"""The share of letters that must be of one script."""

_LATIN = {
    "en": "the and of to is are was were that this it with for you what how not have has from on they which would your"
    " can do does did my about an be been there their will should could please",
    "de": "der die das und ist nicht ich ein eine einen einem einer mit zu den dem auf für von sich auch es wie wir sie"
    " aber oder wenn was kann bitte im zum zur werden wird sind war haben hat dass du mir mich alle",
    "fr": "le les des et est une dans que qui pour pas vous je nous il elle sur avec ce cette plus par sont aux mais"
    " ou être sans ses leur votre quel quelle comment au du donc ne mon toutes",
    "es": "el los las y que es una por con para no se lo del como más pero su al cuando muy sin sobre este está son"
    " qué cómo tiene hay también todo todas yo usted mi me fue ser esta",
    "pt": "o os as e que um uma por com para não se na no do da dos das mais como mas ao ele ela você seu sua são está"
    " muito já também foi ser isso este esta quando à é nos pelo",
    "it": "il lo gli le di che è un una per con non si della del delle dei nel sono come più ma anche questo questa"
    " alla al mi cosa sei hai tutti tutte ho perché dove quando loro essere da",
    "nl": "de het een en van is dat niet ik te zijn met voor op aan er maar om hem ze ook als dan je wat bij wordt naar"
    " deze kan heeft hoe uit nog wel geen mijn jouw alle worden over",
    "sv": "och att det som en på är av för med den till inte om har de ett han men var jag sig från vi så kan när eller"
    " hur vad du mig alla ska skulle efter hon nu",
    "da": "og at det som en på er af for med den til ikke om har de et han men var jeg sig fra vi så kan når eller"
    " hvordan hvad du mig alle skal efter hun nu blev være havde",
    "nb": "og at det som en på er av for med den til ikke om har de et han men var jeg seg fra vi så kan når eller"
    " hvordan hva du meg alle skal etter hun nå ble være hadde",
    "fi": "ja on ei se että oli hän mutta niin kuin olen ovat myös tai jos kun mitä miten tämä siitä minä sinä sen"
    " joka ole voi kaikki vain minun sinun mikä kanssa nyt",
    "pl": "i w na z że nie się do to jest jak o za po co ale czy od tak przez dla jego jej był było są może jako"
    " które który być tego oraz mnie wszystkie proszę",
    "cs": "a v na se že je to s z do o si jak ale by k pro od tak za co jsou nebo být byl jako jeho který která které"
    " už jsem této podle až když všechny prosím",
    "ro": "și în la de cu nu este că o un pe care din pentru mai sunt ca să se au dar a fost lui prin sau fi ce cum"
    " dacă toate acest această ale vă rog",
    "hu": "a az és hogy nem is egy van ez meg de ha mint csak már el volt ki azt még vagy mi én te kell lehet minden"
    " hogyan ami aki ezt nagyon kérem",
    "tr": "ve bir bu da de için ile ne o çok var mı daha gibi ama olarak en kadar sonra her ben sen değil nasıl olan"
    " şey veya ki bütün tüm lütfen",
    "id": "yang dan di ini itu dengan untuk tidak dari dalam akan pada ke adalah saya anda bisa ada juga atau kami"
    " mereka apa bagaimana oleh sudah semua karena seperti",
    "vi": "và của là có không được cho một người với các này đã trong những để từ khi tôi bạn như về nhưng đến ra"
    " làm thế nào hãy tất cả phải",
}
_CYRILLIC = {
    "ru": "и в не на что с как это он она они но по из все для так от мы вы я его к у же был была есть или который"
    " если только мне пожалуйста",
    "uk": "і в не на що з як це він вона вони але по із все для так від ми ви я його до у же був була є або який"
    " якщо тільки мені будь ласка та",
    "bg": "и в не на че с как това той тя те но по от всички за така да ние вие аз му към у ли беше са или който"
    " ако само ми моля се е",
}
_OTHER_SCRIPTS = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "GREEK": "el",
    "HEBREW": "he",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
}
LANGUAGES = tuple(sorted({*_LATIN, *_CYRILLIC, *_OTHER_SCRIPTS.values(), "fa"}))
"""Every language that can be told, by its ISO 639-1 code."""

_PERSIAN = frozenset("پچژگ")


def guess(text: str) -> tuple[str, float]:
    """The language of a text and how sure that is, 0 to 1; an empty code where it cannot be told.

    Takes about 0.05 ms for `WINDOW_CHARS` code points.
    """
    if text.isascii():
        return _by_words(text, "LATIN")
    scripts: dict[str, int] = {}
    for char in text:
        if char.isalpha():
            script = _script(char)
            scripts[script] = scripts.get(script, 0) + 1
    letters = sum(scripts.values())
    # Han characters stand in Japanese text too, where kana tell it from Chinese.
    kana = scripts.get("HIRAGANA", 0) + scripts.get("KATAKANA", 0)
    if kana * 10 > letters and (kana + scripts.get("CJK", 0)) > _MOST_OF * letters:
        return "ja", 1.0
    if not letters:
        return "", 0.0
    script, most = max(scripts.items(), key=lambda item: item[1])
    if most < _MOST_OF * letters:
        return "", 0.0
    if script == "LATIN":
        return _by_words(text, "LATIN")
    if most < _LEAST_LETTERS and script not in ("CJK", "HANGUL"):
        return "", 0.0
    if script == "CYRILLIC":
        return _by_words(text, "CYRILLIC")
    if script == "ARABIC" and any(char in _PERSIAN for char in text):
        return "fa", 0.8
    return (_OTHER_SCRIPTS[script], 1.0) if script in _OTHER_SCRIPTS else ("", 0.0)


def _by_words(text: str, script: str) -> tuple[str, float]:
    """The language most of whose small words stand in a text; a word of several languages says less for each."""
    known = _words(script)
    scores: dict[str, float] = {}
    told = set()
    for word in set(_WORD.findall(text.lower())):
        if languages := known.get(word):
            told.add(word)
            for language in languages:
                scores[language] = scores.get(language, 0.0) + 1 / len(languages)
    if len(told) < _LEAST_WORDS:
        return "", 0.0
    (best, most), *rest = sorted(scores.items(), key=lambda item: -item[1])
    second = rest[0][1] if rest else 0.0
    return best, most / (most + second + 1)


@lru_cache(2)
def _words(script: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, words in (_LATIN if script == "LATIN" else _CYRILLIC).items():
        for word in words.split():
            found[word] = (*found.get(word, ()), language)
    return found


@lru_cache(8192)
def _script(char: str) -> str:
    """The first word of a letter's name in Unicode, which is its script."""
    return unicodedata.name(char, "").partition(" ")[0].partition("-")[0]
