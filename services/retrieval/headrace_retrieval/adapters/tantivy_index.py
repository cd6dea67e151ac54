"""BM25 by tantivy, in memory: an index per index version, so that scores never depend on what others have stored."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence, Set
from uuid import UUID

import tantivy

from headrace_retrieval.adapters.function_words import FUNCTION_WORDS
from headrace_retrieval.domain.metadata import Filter
from headrace_retrieval.ports import IndexedPassage

HEAP_BYTES = 15_000_000
"""What a writer may use; tantivy's least. It is held only while passages are written."""

MAX_TERMS = 512
_LONGEST_WORD = 64
_LOW = (1 << 64) - 1
# Scripts that are written without spaces: each character becomes a word.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff])"
)


def _analyzer(left_out: Sequence[str] = ()) -> tantivy.TextAnalyzer:
    builder = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
    )
    if left_out:
        builder = builder.filter(tantivy.Filter.custom_stopword(list(left_out)))
    return builder.filter(tantivy.Filter.stemmer("English")).build()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("high", fast=True)  # the passage's UUID, in halves
    builder.add_unsigned_field("low", fast=True)
    # Text, since deletion by a number finds nothing in tantivy 0.27.
    builder.add_text_field("document", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("readers", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("terms", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("body", tokenizer_name="words", index_option="freq")
    return builder.build()


class TantivyIndex:
    """`Lexical` on tantivy. Searches run in threads and see whole states; one task at a time calls `replace`."""

    def __init__(self) -> None:
        self._analyzer = _analyzer()
        self._query_analyzer = _analyzer(FUNCTION_WORDS)
        self._schema = _schema()
        self._indexes: dict[int, tantivy.Index] = {}

    async def search(
        self, index_id: int, text: str, readers: frozenset[str] | None, wanted: Filter, limit: int
    ) -> list[tuple[UUID, float]]:
        """See the port. Equal scores are in the order of ids."""
        index = self._indexes.get(index_id)
        if index is None:
            return []
        query = self.query(text, readers, wanted)
        return await asyncio.to_thread(_search, index, query, limit) if query is not None else []

    def query(self, text: str, readers: frozenset[str] | None, wanted: Filter) -> tantivy.Query | None:
        """The whole query, rights and filter inside; None when `text` has no words.

        Function words count only where there are no others.
        """
        spaced = _spaced(text)
        words = Counter(self._query_analyzer.analyze(spaced)) or Counter(self._analyzer.analyze(spaced))
        if not words:
            return None
        kind, schema = tantivy.Query, self._schema
        should = []
        for word, count in words.most_common(MAX_TERMS):
            term = kind.term_query(schema, "body", word, "freq")
            should.append((tantivy.Occur.Should, kind.boost_query(term, float(count)) if count > 1 else term))
        must = [kind.boolean_query(should)]
        # Filters decide what is found, and add nothing to a score.
        if readers is not None:
            must.append(kind.const_score_query(kind.term_set_query(schema, "readers", sorted(readers)), 0.0))
        for group in wanted:
            must.append(kind.const_score_query(kind.term_set_query(schema, "terms", list(group)), 0.0))
        return kind.boolean_query([(tantivy.Occur.Must, part) for part in must])

    async def replace(self, index_id: int, documents: Set[int], passages: Sequence[IndexedPassage]) -> None:
        """See the port."""
        index = self._indexes.get(index_id)
        if index is None:
            index = self._new()
        await asyncio.to_thread(_write, index, documents, passages)
        self._indexes[index_id] = index

    async def load(self, index_id: int, passages: AsyncIterator[Sequence[IndexedPassage]]) -> None:
        """See the port."""
        index = self._new()
        async for batch in passages:
            await asyncio.to_thread(_write, index, frozenset(), batch)
        self._indexes[index_id] = index

    def _new(self) -> tantivy.Index:
        index = tantivy.Index(self._schema)
        index.register_tokenizer("words", self._analyzer)
        return index

    async def drop(self, index_id: int) -> None:
        """See the port."""
        self._indexes.pop(index_id, None)

    def loaded(self) -> frozenset[int]:
        """See the port."""
        return frozenset(self._indexes)

    def at_most(self, index_id: int, readers: frozenset[str] | None, wanted: Filter) -> int:
        """See the port. Read from the counts that each term of the index has."""
        index = self._indexes.get(index_id)
        if index is None:
            return 0
        searcher = index.searcher()
        counts = [searcher.num_docs]
        if readers is not None:
            counts.append(sum(searcher.doc_freq("readers", reader) for reader in readers))
        counts += [sum(searcher.doc_freq("terms", term) for term in group) for group in wanted]
        return min(counts)

    def passages(self) -> int:
        """How many passages it holds."""
        return sum(index.searcher().num_docs for index in self._indexes.values())


def _search(index: tantivy.Index, query: tantivy.Query, limit: int) -> list[tuple[UUID, float]]:
    searcher = index.searcher()
    hits = searcher.search(query, limit, count=False).hits
    addresses = [address for _, address in hits]
    highs = searcher.fast_field_values("high", addresses)
    lows = searcher.fast_field_values("low", addresses)
    found = [
        (UUID(int=(int(high or 0) << 64) | int(low or 0)), float(score))
        for (score, _), high, low in zip(hits, highs, lows, strict=True)
    ]
    return sorted(found, key=lambda hit: (-hit[1], hit[0]))


def _write(index: tantivy.Index, documents: Set[int], passages: Sequence[IndexedPassage]) -> None:
    writer = index.writer(HEAP_BYTES, 1)
    for document in documents:
        writer.delete_documents_by_term("document", str(document))
    for passage in passages:
        writer.add_document(_document(passage))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()


def _document(passage: IndexedPassage) -> tantivy.Document:
    document = tantivy.Document()
    document.add_unsigned("high", passage.chunk_id.int >> 64)
    document.add_unsigned("low", passage.chunk_id.int & _LOW)
    document.add_text("document", str(passage.document_pk))
    for reader in passage.readers:
        document.add_text("readers", reader)
    for term in passage.filter_terms:
        document.add_text("terms", term)
    document.add_text("body", _spaced(passage.context))
    return document


def _spaced(text: str) -> str:
    return _UNSPACED.sub(r" \1 ", text)
