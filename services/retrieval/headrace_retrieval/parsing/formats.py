"""What a file is: by its content first, by its name only where the content does not say."""

from __future__ import annotations

import io
import re
import zipfile
from enum import StrEnum

from headrace_retrieval.parsing.parsed import Refused

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""What an archive may unpack to: a .docx of a few hundred pages with pictures stays far below."""

MAX_ENTRIES = 10_000
_MAX_RATIO = 200
_RATIO_FROM = 4 * 1024 * 1024


class Format(StrEnum):
    """A kind of file that can be read."""

    PDF = "pdf"
    DOCX = "docx"
    PPTX = "pptx"
    XLSX = "xlsx"
    HTML = "html"
    EMAIL = "eml"
    CSV = "csv"
    MARKDOWN = "md"
    TEXT = "txt"


_ENDINGS = {
    "pdf": Format.PDF,
    "docx": Format.DOCX,
    "pptx": Format.PPTX,
    "xlsx": Format.XLSX,
    "html": Format.HTML,
    "htm": Format.HTML,
    "xhtml": Format.HTML,
    "eml": Format.EMAIL,
    "csv": Format.CSV,
    "tsv": Format.CSV,
    "md": Format.MARKDOWN,
    "markdown": Format.MARKDOWN,
    "mdx": Format.MARKDOWN,
}
_TYPES = {
    "application/pdf": Format.PDF,
    "text/html": Format.HTML,
    "application/xhtml+xml": Format.HTML,
    "message/rfc822": Format.EMAIL,
    "text/csv": Format.CSV,
    "text/tab-separated-values": Format.CSV,
    "text/markdown": Format.MARKDOWN,
}
_OFFICE = {"word/": Format.DOCX, "ppt/": Format.PPTX, "xl/": Format.XLSX}
_BINARY = frozenset({Format.PDF, Format.DOCX, Format.PPTX, Format.XLSX})
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


def detect(content: bytes, name: str, content_type: str) -> Format:
    """The format of a file.

    Args:
        name: its name; only the ending is looked at.
        content_type: as the sender says; looked at where neither content nor name tell.

    Raises:
        Refused: it is empty, locked, an archive that is no document or unpacks to too much, or of another kind.
    """
    if not content.strip():
        raise Refused("the file is empty")
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    said = _ENDINGS.get(ending) or _TYPES.get(content_type.partition(";")[0].strip().lower())
    if b"%PDF-" in content[:1024]:
        return Format.PDF
    if content.startswith(b"PK\x03\x04"):
        return _archive(content)
    if content.startswith(_OLE):
        raise Refused(
            "it is locked with a password, or in an Office format from before 2007; save it as .docx, .pptx, .xlsx"
        )
    if said in _BINARY:
        raise Refused(f"it is named as a .{said.value} file and is none")
    if b"\0" in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refused("it is binary data of a kind that is not read; send PDF, Office files, HTML, e-mail or text")
    if said is not None:
        return said
    return Format.HTML if _HTML.match(content[:4096]) else Format.TEXT


def _archive(content: bytes) -> Format:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Refused("the file is broken or cut off: its archive has no readable list of contents") from error
    if any(entry.flag_bits & 1 for entry in entries):
        raise Refused("it is locked with a password")
    unpacked = sum(entry.file_size for entry in entries)
    swollen = any(
        entry.file_size > _RATIO_FROM and entry.file_size > _MAX_RATIO * max(1, entry.compress_size)
        for entry in entries
    )
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES or swollen:
        raise Refused("it unpacks to far more than a document holds")
    for entry in entries:
        for folder, kind in _OFFICE.items():
            if entry.filename.startswith(folder):
                return kind
    raise Refused("it is an archive and no document; send the files in it one by one")
