"""The structure of a text: headings, paragraphs, tables and code, as spans of code points."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a block is."""

    HEADING = "heading"
    PROSE = "prose"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole lines. `level` is a heading's, from 1; `title` its text."""

    kind: Kind
    start: int
    end: int
    level: int = 0
    title: str = ""


_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LINE = re.compile(r"[^\n]*(?:\n|$)")


def blocks(text: str, markdown: bool) -> list[Block]:
    """The blocks of `text`, in order. Every character that is not white space is in exactly one.

    Plain text has only paragraphs: runs of lines between empty ones.
    """
    found: list[Block] = []
    lines = list(_lines(text))
    position = 0
    while position < len(lines):
        _, line = lines[position]
        if not line.strip():
            position += 1
            continue
        block, position = _markdown_block(lines, position) if markdown else _paragraph(lines, position, False)
        found.append(block)
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for match in _LINE.finditer(text):
        if match.end() > match.start():
            yield match.start(), match.group().rstrip("\n").removesuffix("\r")


def _markdown_block(lines: list[tuple[int, str]], position: int) -> tuple[Block, int]:
    start, line = lines[position]
    if heading := _HEADING.match(line):
        title = line[heading.end() :].strip()
        opened = title.rstrip("#")
        if opened != title and (not opened or opened[-1] in " \t"):
            title = opened.rstrip()  # a closing row of #
        return Block(Kind.HEADING, start, start + len(line), len(heading[1]), title), position + 1
    if fence := _FENCE.match(line):
        return _code(lines, position, fence[1])
    if _is_row(line):
        end = position
        while end < len(lines) and _is_row(lines[end][1]):
            end += 1
        return _block(Kind.TABLE, lines, position, end), end
    if position + 1 < len(lines) and (underline := _UNDERLINE.match(lines[position + 1][1])):
        last, rule = lines[position + 1]
        level = 1 if underline[1][0] == "=" else 2
        return Block(Kind.HEADING, start, last + len(rule), level, line.strip()), position + 2
    return _paragraph(lines, position, True)


def _is_row(line: str) -> bool:
    row = line.strip()
    return len(row) > 1 and row[0] == "|" == row[-1]


def _code(lines: list[tuple[int, str]], position: int, fence: str) -> tuple[Block, int]:
    end = position + 1
    while end < len(lines):
        closing = _FENCE.match(lines[end][1])
        end += 1
        if closing and closing[1].startswith(fence) and not lines[end - 1][1].strip(" " + fence[0]):
            break
    return _block(Kind.CODE, lines, position, end), end


def _paragraph(lines: list[tuple[int, str]], position: int, markdown: bool) -> tuple[Block, int]:
    end = position + 1
    while end < len(lines) and lines[end][1].strip():
        line = lines[end][1]
        if markdown and (_HEADING.match(line) or _FENCE.match(line) or _is_row(line)):
            break
        end += 1
    return _block(Kind.PROSE, lines, position, end), end


def _block(kind: Kind, lines: list[tuple[int, str]], first: int, end: int) -> Block:
    start, last = lines[first][0], lines[end - 1]
    return Block(kind, start, last[0] + len(last[1]))
