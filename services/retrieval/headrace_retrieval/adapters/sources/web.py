"""Pages of a website as a source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from headrace_kit.config import sources as config
from headrace_kit.fetching import CannotFetchError, Fetcher, Limits
from headrace_retrieval.domain.sources import Entry, FileContent, SourceError, Unreadable

_SITEMAP_BYTES = 52_428_800
"""What sitemaps.org allows."""

_DEEPEST = 3
_MOST_SITEMAPS = 1000


class WebSource:
    """`Source` on pages by address, and those of a sitemap; a page's key is its address.

    A page has no version that could be trusted: each is read at each time, and compared.
    """

    def __init__(self, section: config.DocumentSite, max_bytes: int) -> None:
        self._section = section
        limits = Limits(max_bytes, section.timeout, section.allow_networks)
        self._pages = Fetcher(limits, what="page", reads=lambda _, encoded: not encoded)
        limits = Limits(_SITEMAP_BYTES, section.timeout, section.allow_networks)
        self._sitemaps = Fetcher(limits, what="sitemap", reads=lambda _, encoded: not encoded)

    async def entries(self) -> AsyncIterator[Entry]:
        """See the port."""
        addresses = dict.fromkeys(self._section.pages)
        if self._section.sitemap is not None:
            await self._follow(self._section.sitemap, addresses)
        for address in addresses:
            yield Entry(address, "", partial(self._read, address))

    async def _follow(self, sitemap: str, addresses: dict[str, None]) -> None:
        """Add what a sitemap names, and the sitemaps that it names."""
        host = urlsplit(sitemap).netloc
        waiting, known = [(sitemap, 0)], {sitemap}
        while waiting:
            address, depth = waiting.pop(0)
            for kind, place in await self._sitemap(address):
                if urlsplit(place).netloc != host:
                    continue  # a sitemap speaks for its own host
                if kind == "url":
                    addresses[place] = None
                    if len(addresses) > self._section.most_pages:
                        raise SourceError(f"there are more than most_pages = {self._section.most_pages} pages")
                elif depth < _DEEPEST and place not in known:
                    if len(known) == _MOST_SITEMAPS:
                        raise SourceError(f"the sitemap names more than {_MOST_SITEMAPS} others")
                    known.add(place)
                    waiting.append((place, depth + 1))

    async def _sitemap(self, address: str) -> list[tuple[str, str]]:
        """Its entries: `url` or `sitemap`, and the address."""
        try:
            found = await self._sitemaps.fetch(address)
        except CannotFetchError as error:
            raise SourceError(str(error)) from None
        # Sitemaps have no use for entities, and entities are what makes XML a bomb.
        if b"<!DOCTYPE" in found.body or b"<!ENTITY" in found.body:
            raise SourceError("the sitemap has a DOCTYPE; send plain XML as sitemaps.org says")
        try:
            root = ElementTree.fromstring(found.body)  # noqa: S314  (without entities, see above)
        except ElementTree.ParseError as error:
            raise SourceError(f"the sitemap is not XML: {error}") from None
        made = []
        for entry in root:
            kind = entry.tag.rpartition("}")[2]
            place = next((one.text for one in entry if one.tag.rpartition("}")[2] == "loc"), None)
            if kind in ("url", "sitemap") and place and place.strip():
                made.append((kind, place.strip()))
        return made

    async def _read(self, address: str) -> FileContent:
        try:
            found = await self._pages.fetch(address)
        except CannotFetchError as error:
            raise Unreadable(str(error)) from None
        name = unquote(urlsplit(address).path.rstrip("/").rpartition("/")[2]) or urlsplit(address).netloc
        return FileContent(found.body, name, found.content_type)
