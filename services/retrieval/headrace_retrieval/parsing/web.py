"""HTML: what a reader of the page would see, as Markdown."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Comment
from markdownify import MarkdownConverter

from headrace_retrieval.parsing.parsed import Parsed, clean

_UNSEEN = (
    "script",
    "style",
    "noscript",
    "template",
    "iframe",
    "object",
    "embed",
    "svg",
    "canvas",
    "head",
    "nav",
    "form",
)
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])", re.IGNORECASE)
_GAPS = re.compile(r"\n{3,}")


def read(content: bytes) -> Parsed:
    """A page's text and title; its character set is the one that it names, else the likeliest."""
    page = BeautifulSoup(content, "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    return Parsed(clean(_markdown(page)), True, " ".join(title.split()))


def to_markdown(html: str) -> str:
    """The visible text of some HTML."""
    return _markdown(BeautifulSoup(html, "html.parser"))


def _markdown(page: BeautifulSoup) -> str:
    for comment in page.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for element in page.find_all(_UNSEEN):
        element.decompose()
    # Text that nobody sees is where instructions for models are hidden.
    for element in page.find_all(True):
        if element.decomposed:
            continue
        if (
            element.has_attr("hidden")
            or element.get("aria-hidden") == "true"
            or _HIDDEN.search(str(element.get("style", "")))
        ):
            element.decompose()
    converter = MarkdownConverter(
        heading_style="ATX",
        strip=["img", "a"],
        table_infer_header=True,
        escape_asterisks=False,
        escape_underscores=False,
    )
    return _GAPS.sub("\n\n", converter.convert_soup(page))
