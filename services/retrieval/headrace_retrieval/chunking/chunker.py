"""Documents to passages: by structure first, then by size, with overlap, and with exact spans."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace_retrieval.chunking.blocks import Block, Kind, blocks
from headrace_retrieval.chunking.tokens import count_tokens


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage of a document: `text` is the document's `[start:end]`, in code points.

    `headings` is the path of headings above its first words, outermost first. `page` is from 1, None without pages.
    """

    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    page: int | None = None


@dataclass(frozen=True, slots=True)
class _Atom:
    """What is not cut: a sentence, a line of a table, a heading. `whole` numbers the block it belongs to."""

    start: int
    end: int
    tokens: int
    block: int
    kind: Kind


# Where a sentence ends. Each alternative looks at a bounded stretch, so no text makes it slow.
_SENTENCE_END = re.compile(
    r"(?:(?<=[.!?…])|(?<=[.!?…][\"'\u201d\u2019)\]]))\s"
    r"|(?<=[\u3002\uff01\uff1f])"
    r"|\n(?=[ \t]{0,8}(?:[-*+]|\d{1,4}[.)])[ \t])"
)
_LINE = re.compile(r"[^\n]+")
_WORD = re.compile(r"\S+")
_MAX_WORD = 64
_FULL_ENOUGH = 0.5


def chunk(
    text: str, *, markdown: bool, max_tokens: int, overlap_tokens: int, page_starts: Sequence[int] = ()
) -> list[Piece]:
    """Cut `text` into passages of at most `max_tokens`, in order.

    A passage never crosses a heading; tables and code stay whole where they fit; longer ones are cut between lines,
    prose between sentences, then between words. Neighbours under one heading share up to `overlap_tokens`. Every
    character that is not white space is in at least one passage, and passages neither start nor end with white space.
    """
    pieces: list[Piece] = []
    for headings, section in _sections(text, blocks(text, markdown)):
        atoms = [atom for number, block in enumerate(section) for atom in _atoms(text, block, number, max_tokens)]
        for first, last in _pack(atoms, max_tokens, overlap_tokens):
            start, end = atoms[first].start, atoms[last].end
            page = bisect_right(page_starts, start) or None
            pieces.append(Piece(start, end, text[start:end], headings, page))
    return pieces


def context(title: str, piece_headings: tuple[str, ...], text: str) -> str:
    """A passage as it is embedded and indexed: under its document's title and its headings."""
    above = [part for part in (title, *piece_headings) if part]
    if above and text.lstrip("# ").startswith(above[-1]):
        above.pop()  # the passage opens with it
    return f"{' > '.join(above)}\n{text}" if above else text


def _sections(text: str, found: list[Block]) -> Iterator[tuple[tuple[str, ...], list[Block]]]:
    """Blocks under their heading path; a heading without a body goes with what follows it."""
    path: list[tuple[int, str]] = []
    section: list[Block] = []
    has_body = False
    for block in found:
        if block.kind is Kind.HEADING:
            if has_body:
                yield tuple(title for _, title in path), section
                section, has_body = [], False
            path = [(level, title) for level, title in path if level < block.level]
            if block.title:
                path.append((block.level, block.title))
        else:
            has_body = True
        section.append(block)
    if section:
        yield tuple(title for _, title in path), section


def _atoms(text: str, block: Block, number: int, max_tokens: int) -> Iterator[_Atom]:
    for start, end in _sentences(text, block) if block.kind is Kind.PROSE else _lines(text, block):
        tokens = count_tokens(text[start:end])
        if tokens <= max_tokens:
            yield _Atom(start, end, tokens, number, block.kind)
        else:
            yield from _words(text, start, end, number, block.kind)


def _sentences(text: str, block: Block) -> Iterator[tuple[int, int]]:
    start = block.start
    for match in _SENTENCE_END.finditer(text, block.start, block.end):
        yield from _trim(text, start, match.start())
        start = match.end()
    yield from _trim(text, start, block.end)


def _lines(text: str, block: Block) -> Iterator[tuple[int, int]]:
    for match in _LINE.finditer(text, block.start, block.end):
        yield from _trim(text, match.start(), match.end())


def _words(text: str, start: int, end: int, number: int, kind: Kind) -> Iterator[_Atom]:
    for match in _WORD.finditer(text, start, end):
        for cut in range(match.start(), match.end(), _MAX_WORD):
            stop = min(cut + _MAX_WORD, match.end())
            # Even a token per character would stay below the least `max_tokens` times four.
            yield from _characters(text, cut, stop, number, kind)


def _characters(text: str, start: int, end: int, number: int, kind: Kind) -> Iterator[_Atom]:
    tokens = count_tokens(text[start:end])
    if tokens <= 16 or end - start == 1:
        yield _Atom(start, end, tokens, number, kind)
        return
    middle = (start + end) // 2
    yield from _characters(text, start, middle, number, kind)
    yield from _characters(text, middle, end, number, kind)


def _pack(atoms: list[_Atom], max_tokens: int, overlap_tokens: int) -> Iterator[tuple[int, int]]:
    """First and last atom of each passage."""
    sizes: dict[int, int] = {}
    for atom in atoms:
        sizes[atom.block] = sizes.get(atom.block, 0) + atom.tokens
    first = fresh = 0
    while fresh < len(atoms):
        tokens = sum(atom.tokens for atom in atoms[first:fresh])
        opening = atoms[fresh]
        opens_block = fresh == 0 or atoms[fresh - 1].block != opening.block
        needed = sizes[opening.block] if opens_block and _keeps_whole(opening, sizes, max_tokens) else opening.tokens
        if tokens + needed > max_tokens:
            first, tokens = fresh, 0  # the overlap would leave no room
        stop = fresh
        while stop < len(atoms):
            atom = atoms[stop]
            if tokens + atom.tokens > max_tokens:
                break
            if stop > fresh and atom.block != atoms[stop - 1].block:
                fits = tokens + sizes[atom.block] <= max_tokens
                if not fits and (_keeps_whole(atom, sizes, max_tokens) or tokens >= max_tokens * _FULL_ENOUGH):
                    break
            tokens += atom.tokens
            stop += 1
        yield first, stop - 1
        first = _back(atoms, fresh, stop, overlap_tokens)
        fresh = stop


def _keeps_whole(atom: _Atom, sizes: dict[int, int], max_tokens: int) -> bool:
    return atom.kind in (Kind.TABLE, Kind.CODE) and sizes[atom.block] <= max_tokens


def _back(atoms: list[_Atom], fresh: int, stop: int, overlap_tokens: int) -> int:
    """Where the next passage starts, so that it repeats at most `overlap_tokens` of this one."""
    first, tokens = stop, 0
    while first - 1 > fresh and tokens + atoms[first - 1].tokens <= overlap_tokens:
        first -= 1
        tokens += atoms[first].tokens
    return first


def _trim(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end
