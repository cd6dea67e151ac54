"""Text files: which characters their bytes stand for, and tables separated by commas."""

from __future__ import annotations

import codecs
import csv
import io

from headrace_retrieval.parsing.parsed import Parsed, Refused, clean, table

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 65_536
_FIELD_CHARS = 1_000_000


def decode(content: bytes) -> str:
    """The text of some bytes: as their mark says, else UTF-8, else the likeliest of the older character sets.

    Raises:
        Refused: they are no text.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    from charset_normalizer import from_bytes

    best = from_bytes(content[:_SAMPLE]).best()
    if best is None:
        raise Refused("it is no text in any character set that is known")
    return content.decode(best.encoding, "replace")


def text(content: bytes) -> Parsed:
    """A plain text."""
    return Parsed(clean(decode(content)), False)


def markdown(content: bytes) -> Parsed:
    """A Markdown text."""
    return Parsed(clean(decode(content)), True)


def comma_separated(content: bytes) -> Parsed:
    """Rows as a Markdown table; what separates cells is found out."""
    found = decode(content)
    csv.field_size_limit(_FIELD_CHARS)
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(found[:_SAMPLE], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    try:
        rows = list(csv.reader(io.StringIO(found, newline=""), dialect))
    except csv.Error as error:
        raise Refused(f"it cannot be read as comma-separated values: {error}") from error
    return Parsed(clean(table(rows)), True)
