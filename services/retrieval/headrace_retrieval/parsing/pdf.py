"""PDF, page by page, with tables as Markdown."""

from __future__ import annotations

import io
from typing import Any

import pdfplumber
from pdfminer.pdfdocument import PDFEncryptionError, PDFPasswordIncorrect
from pdfplumber.utils.exceptions import PdfminerException

from headrace_retrieval.parsing.parsed import Parsed, Refused, joined, table

MAX_PAGES = 5000


def read(content: bytes) -> Parsed:
    """The text of a PDF file. Raises Refused."""
    try:
        with pdfplumber.open(io.BytesIO(content)) as document:
            if len(document.pages) > MAX_PAGES:
                raise Refused(f"it has more than {MAX_PAGES} pages; split it")
            pages = []
            for page in document.pages:
                pages.append(_page(page))
                page.close()
            title = document.metadata.get("Title")
    except PdfminerException as error:
        if error.args and isinstance(error.args[0], PDFPasswordIncorrect | PDFEncryptionError):
            raise Refused("it is locked with a password") from error
        raise Refused("the PDF file is broken or cut off") from error
    if not pages:
        raise Refused("the PDF file is broken or cut off: it has no pages")
    if not any(page.strip() for page in pages):
        raise Refused("its pages hold no text, as scanned ones do; run a text recognition over it first")
    return joined(pages, title=title if isinstance(title, str) else "")


def _page(page: Any) -> str:
    """What stands above, in and below each table, from top to bottom."""
    tables = sorted(page.find_tables(), key=lambda found: found.bbox[1])
    parts, top = [], page.bbox[1]
    for found in tables:
        rows = [[cell or "" for cell in row] for row in found.extract()]
        if len(rows) < 2 or max(map(len, rows)) < 2 or not table(rows):
            continue  # a frame around text, or a line under it
        upper, lower = max(found.bbox[1], top), min(found.bbox[3], page.bbox[3])
        if lower <= top:
            continue  # inside the one before
        parts += [_strip(page, top, upper), table(rows)]
        top = lower
    parts.append(_strip(page, top, page.bbox[3]))
    return "\n\n".join(part for part in parts if part.strip())


def _strip(page: Any, top: float, bottom: float) -> str:
    if bottom - top < 1:
        return ""
    return page.crop((page.bbox[0], top, page.bbox[2], bottom)).extract_text() or ""
