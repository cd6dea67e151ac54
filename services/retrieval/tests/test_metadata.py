"""Metadata becomes terms, and filters ask for them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_kit.errors import BadInput
from headrace_retrieval.domain.metadata import MAX_TERM, clean, compile_filter, terms

_scalars = st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text("aé😀=\"'\\"))


def matches(metadata, wanted) -> bool:
    have = set(terms(clean(metadata, "metadata")))
    return all(have & set(group) for group in compile_filter(wanted))


@given(st.dictionaries(st.text("abc=", max_size=3), _scalars, max_size=4), st.text("abc=", max_size=3), _scalars)
def test_equality_is_what_json_says(metadata, key, value):
    def same(one, other) -> bool:
        return type(one) is type(other) and one == other

    assert matches(metadata, {key: value}) == (key in metadata and same(metadata[key], value))


def test_numbers_are_equal_by_value_and_never_to_strings_or_booleans():
    assert matches({"year": 2026.0}, {"year": 2026})
    assert matches({"year": 2026}, {"year": 2026.0})
    assert not matches({"year": 2026}, {"year": "2026"})
    assert not matches({"year": 1}, {"year": True})


def test_a_list_means_any_of_on_both_sides_and_fields_all_count():
    document = {"tags": ["a", "b"], "lang": "en"}
    assert matches(document, {"tags": "b"})
    assert matches(document, {"tags": ["x", "a"], "lang": "en"})
    assert not matches(document, {"tags": "b", "lang": "de"})
    assert not matches(document, {"other": None})


def test_long_values_are_compared_in_full():
    long = "x" * 5000
    assert all(len(term) <= MAX_TERM for term in terms({"a": long}))
    assert matches({"a": long}, {"a": long})
    assert not matches({"a": long}, {"a": long + "y"})


def test_a_filter_is_small_and_has_no_nul():
    with pytest.raises(BadInput, match="at most"):
        compile_filter({f"k{n}": 1 for n in range(33)})
    with pytest.raises(BadInput, match="NUL"):
        compile_filter({"k\0": 1})


@pytest.mark.parametrize("wanted", [{"a": {}}, {"a": []}, {"a": [[1]]}, {"a": [{}]}, {"a": math.nan}, {"a": [1] * 300}])
def test_filters_that_mean_nothing_are_refused_with_the_field(wanted):
    with pytest.raises(BadInput) as refused:
        compile_filter(wanted)
    assert refused.value.param == "filter.a"


@pytest.mark.parametrize("value", [math.inf, {"b": math.nan}, ["x\0y"], {"k\0": 1}, "x" * 70_000])
def test_metadata_that_cannot_be_stored_is_refused(value):
    with pytest.raises(BadInput):
        clean({"a": value}, "documents[0].metadata")


def test_a_backslash_is_not_a_nul():
    assert clean({"path": "C:\\u0000"}, "metadata") == {"path": "C:\\u0000"}
