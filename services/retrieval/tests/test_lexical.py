"""The lexical index: words in, ranked passages out, rights and filters inside the query."""

from __future__ import annotations

import uuid

import pytest

from headrace_retrieval.adapters.tantivy_index import TantivyIndex
from headrace_retrieval.ports import IndexedPassage


def passage(text: str, document: int, readers=("public",), terms=()) -> IndexedPassage:
    return IndexedPassage(uuid.uuid4(), document, text, readers, terms)


async def found(index: TantivyIndex, text: str, readers=frozenset({"public"}), wanted=(), limit=10, index_id=1):
    return [chunk for chunk, _ in await index.search(index_id, text, readers, wanted, limit)]


async def test_what_is_put_in_the_place_of_a_document_is_all_there_is_of_it():
    index = TantivyIndex()
    old, new, other = passage("old water", 7), passage("new water", 7), passage("other water", 8)
    await index.replace(1, {7, 8}, [old, other])
    await index.replace(1, {7}, [new])
    assert set(await found(index, "water")) == {new.chunk_id, other.chunk_id}
    await index.replace(1, {7}, [new])
    assert sorted(await found(index, "water")) == sorted({new.chunk_id, other.chunk_id}), (
        "the same again changes nothing"
    )
    await index.replace(1, {7}, [])
    assert await found(index, "water") == [other.chunk_id]


async def test_rights_and_filters_are_part_of_the_query_and_add_nothing_to_scores():
    index = TantivyIndex()
    open_ = passage("water", 1, ("public",), ('lang="en"', "year=1"))
    ana = passage("water", 2, ("u:ana", "g:staff"), ('lang="de"', "year=1"))
    nobody = passage("water", 3, (), ('lang="en"', "year=2"))
    await index.replace(1, frozenset(), [open_, ana, nobody])
    assert await found(index, "water", limit=1) == [open_.chunk_id], "others do not use up the limit"
    assert set(await found(index, "water", frozenset({"public", "g:staff"}))) == {open_.chunk_id, ana.chunk_id}
    assert len(await found(index, "water", None)) == 3
    assert await found(index, "water", None, (('lang="de"', 'lang="fr"'), ("year=1",))) == [ana.chunk_id]
    assert await found(index, "water", None, (("year=3",),)) == []
    scores = {score for _, score in await index.search(1, "water", None, (), 10)}
    assert scores == {score for _, score in await index.search(1, "water", frozenset({"public"}), (), 10)}


async def test_better_matches_come_first_and_words_meet_across_their_forms():
    index = TantivyIndex()
    both = passage("Turbines need water. Café Öl", 1)
    one = passage("A house needs a roof, walls, windows and somewhere a turbine of its own", 2)
    await index.replace(1, frozenset(), [one, both, passage("nothing of the kind", 3)])
    assert await found(index, "turbine water") == [both.chunk_id, one.chunk_id]
    assert await found(index, "cafe ol") == [both.chunk_id]


@pytest.mark.parametrize("text", ["", "?!", "body:*", 'AND OR NOT "', "x" * 8000, "~^:(){}[]", "\ud7ff\U0010ffff"])
async def test_no_query_is_an_error(text):
    index = TantivyIndex()
    await index.replace(1, frozenset(), [passage("water", 1)])
    assert await found(index, text) == []


async def test_scripts_without_spaces_are_found_by_their_characters():
    index = TantivyIndex()
    match = passage("水力発電所の取水口", 1)
    await index.replace(1, frozenset(), [match, passage("山の家", 2)])
    assert (await found(index, "取水"))[0] == match.chunk_id


async def test_index_versions_do_not_know_of_each_other():
    index = TantivyIndex()
    await index.replace(1, frozenset(), [passage("water", 1)])

    async def batches():
        for number in range(3):
            yield [passage("water water", number)]

    await index.load(2, batches())
    assert index.loaded() == {1, 2}
    assert index.passages() == 4
    assert len(await found(index, "water", index_id=2)) == 3
    await index.drop(2)
    assert await found(index, "water", index_id=2) == []
    assert await found(index, "water", index_id=3) == []
