"""What reading a file gives, and what it may refuse."""

from __future__ import annotations

from msgspec import Struct

MAX_TEXT_BYTES = 10 * 1024 * 1024
"""Largest text of a document, in UTF-8 bytes."""


class Refused(Exception):
    """A file that cannot become a document. The message is for its owner."""


class Parsed(Struct, frozen=True):
    """A file's text. `pages` holds where each page starts in it, in code points; empty where a format has no pages."""

    text: str
    markdown: bool
    title: str = ""
    pages: tuple[int, ...] = ()


def joined(parts: list[str], *, title: str = "") -> Parsed:
    """Pages to one Markdown text. Raises Refused when there is too much of it."""
    text, pages, size = [], [], 0
    position = 0
    for part in parts:
        page = clean(part)
        size += len(page.encode())
        if size > MAX_TEXT_BYTES:
            raise Refused(f"its text is larger than {MAX_TEXT_BYTES} bytes; split the document")
        pages.append(position)
        text.append(page)
        position += len(page) + 2
    return Parsed("\n\n".join(text), True, title, tuple(pages))


def clean(text: str) -> str:
    """Text without control characters, lone surrogates, and white space at its ends."""
    text = text.encode("utf-8", "replace").decode()
    return text.translate(_CONTROL).strip()


_CONTROL = {code: None for code in range(32) if chr(code) not in "\t\n\f"} | {0x7F: None, 0x0C: "\n"}


def table(rows: list[list[str]]) -> str:
    """A Markdown table whose header is the first row; empty rows and a table without content are left out."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    width = max((len(row) for row in cells), default=0)
    if not width:
        return ""
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])
