"""Word, PowerPoint and Excel files, as they are since 2007."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from headrace_retrieval.parsing.parsed import Parsed, Refused, clean, joined, table
from headrace_retrieval.parsing.web import to_markdown

_MAX_CELLS = 2_000_000


def docx(content: bytes) -> Parsed:
    """A Word file: headings, lists and tables; pages are decided by whoever prints it, so there are none."""
    import mammoth

    def picture(image: Any) -> dict[str, str]:
        return {"src": ""}

    html = mammoth.convert_to_html(io.BytesIO(content), convert_image=mammoth.images.img_element(picture)).value
    return Parsed(clean(to_markdown(html)), True)


def pptx(content: bytes) -> Parsed:
    """A PowerPoint file: each slide is a page."""
    from pptx import Presentation

    deck = Presentation(io.BytesIO(content))
    return joined([_slide(slide) for slide in deck.slides], title=deck.core_properties.title or "")


def _slide(slide: Any) -> str:
    title = slide.shapes.title
    parts = [f"## {_line(title.text_frame.text)}"] if title is not None and title.text_frame.text.strip() else []
    parts += [text for shape in _shapes(slide.shapes) if shape != title and (text := _shape(shape))]
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None:
        parts.append(frame.text)
    return "\n\n".join(parts)


def _shapes(shapes: Any) -> Iterator[Any]:
    for shape in shapes:
        inner = getattr(shape, "shapes", None)
        if inner is None:
            yield shape
        else:
            yield from _shapes(inner)


def _shape(shape: Any) -> str:
    if getattr(shape, "has_table", False):
        return table([[cell.text for cell in row.cells] for row in shape.table.rows])
    return str(shape.text_frame.text).strip() if shape.has_text_frame else ""


def xlsx(content: bytes) -> Parsed:
    """An Excel file: a heading and a table a sheet, with values as they were last computed."""
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    parts, cells = [], 0
    for sheet in book.worksheets:
        rows = []
        for values in sheet.iter_rows(values_only=True):
            cells += len(values)
            if cells > _MAX_CELLS:
                raise Refused(f"it has more than {_MAX_CELLS} cells; split it")
            if any(value is not None for value in values):
                rows.append(["" if value is None else str(value) for value in values])
        if found := table(rows):
            parts += [f"## {_line(sheet.title)}", found]
    return Parsed(clean("\n\n".join(parts)), True)


def _line(text: str) -> str:
    return " ".join(text.split())


READERS: dict[str, Callable[[bytes], Parsed]] = {"docx": docx, "pptx": pptx, "xlsx": xlsx}
