"""Passages have exact spans, lose nothing, and keep to the limit."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_retrieval.chunking.chunker import chunk, context
from headrace_retrieval.chunking.tokens import count_tokens

_words = st.sampled_from(
    [
        "water",
        "Turbine.",
        "naïve!",
        "𝄞𝔘𝔫𝔦",
        "😀",
        "漢字。仮名",
        "# Head",
        "## Sub",
        "```",
        "| a | b |",
        "- item",
        "1234567",
        *("\n", "\n\n", " ", "\t", "\r\n", "===", "x" * 90, "!" * 70, "\u2003", "ا" * 50),
    ]
)
_texts = st.one_of(
    st.text(max_size=400),
    st.lists(_words, max_size=120).map(lambda parts: " ".join(parts)),
    st.lists(_words, max_size=120).map(lambda parts: "".join(parts)),
)


@given(_texts, st.booleans(), st.integers(16, 60), st.integers(0, 8))
def test_spans_are_exact_cover_everything_and_keep_the_limit(text, markdown, max_tokens, overlap_tokens):
    pieces = chunk(text, markdown=markdown, max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    covered = set()
    last = (-1, -1)
    for piece in pieces:
        assert 0 <= piece.start < piece.end <= len(text)
        assert piece.text == text[piece.start : piece.end]
        assert piece.text == piece.text.strip()
        assert count_tokens(piece.text) <= max_tokens
        assert (piece.start, piece.end) > last and piece.end > last[1], "each passage goes further than the one before"
        last = (piece.start, piece.end)
        covered.update(range(piece.start, piece.end))
    assert [i for i, character in enumerate(text) if not character.isspace() and i not in covered] == []


@given(_texts, st.booleans())
def test_the_same_text_gives_the_same_passages(text, markdown):
    assert chunk(text, markdown=markdown, max_tokens=32, overlap_tokens=4) == chunk(
        text, markdown=markdown, max_tokens=32, overlap_tokens=4
    )


def test_sections_keep_their_heading_path_and_never_mix():
    text = "# Guide\n\n## Leave\n\nThirty days a year.\n\n## Travel ##\n\nBook by rail.\n\n# Annex\n\nTables.\n"
    pieces = chunk(text, markdown=True, max_tokens=100, overlap_tokens=10)
    assert [(piece.headings, piece.text) for piece in pieces] == [
        (("Guide", "Leave"), "# Guide\n\n## Leave\n\nThirty days a year."),
        (("Guide", "Travel"), "## Travel ##\n\nBook by rail."),
        (("Annex",), "# Annex\n\nTables."),
    ]


def test_underlined_headings_count():
    pieces = chunk("Guide\n=====\n\nOne.\n\nLeave\n---\nTwo.", markdown=True, max_tokens=50, overlap_tokens=0)
    assert [piece.headings for piece in pieces] == [("Guide",), ("Guide", "Leave")]


def test_plain_text_has_no_headings():
    (piece,) = chunk("# not a heading\nbut a note", markdown=False, max_tokens=50, overlap_tokens=0)
    assert piece.headings == ()


@pytest.mark.parametrize(
    "block",
    [
        "\n".join(f"| row {n} | {n} |" for n in range(6)),
        "```python\n" + "\n\n".join("x = 1" for _ in range(6)) + "\n```",
    ],
)
def test_a_table_or_code_that_fits_stays_whole(block):
    text = f"{'Some words before it all. ' * 6}\n\n{block}\n\n{'And words behind. ' * 6}"
    pieces = chunk(text, markdown=True, max_tokens=60, overlap_tokens=20)
    assert sum(block in piece.text for piece in pieces) >= 1


def test_neighbours_share_whole_sentences_up_to_the_overlap():
    sentences = [f"Sentence number {n} tells us this." for n in range(30)]
    pieces = chunk(" ".join(sentences), markdown=False, max_tokens=40, overlap_tokens=10)
    for before, after in itertools.pairwise(pieces):
        assert after.start < before.end, "they overlap"
        shared = " ".join(sentences)[after.start : before.end]
        assert shared in sentences and count_tokens(shared) <= 10


def test_astral_characters_count_as_one():
    text = "😀" * 3 + " Water flows. " + "𝄞 music."
    (piece,) = chunk(text, markdown=False, max_tokens=50, overlap_tokens=0)
    assert (piece.start, piece.end) == (0, len(text))


@pytest.mark.parametrize("text", ["." * 300_000, "# " + " " * 300_000 + "x", "\n" * 300_000 + "x", "|" * 300_000])
def test_hostile_text_is_cut_like_any_other(text):
    pieces = chunk(text, markdown=True, max_tokens=200, overlap_tokens=20)
    assert pieces and all(piece.text == text[piece.start : piece.end] for piece in pieces)


def test_context_names_title_and_headings_once():
    assert context("Handbook", ("Leave",), "Thirty days.") == "Handbook > Leave\nThirty days."
    assert context("Handbook", ("Leave",), "## Leave\n\nThirty days.") == "Handbook\n## Leave\n\nThirty days."
    assert context("", (), "Alone.") == "Alone."
