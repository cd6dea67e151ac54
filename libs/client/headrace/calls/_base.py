"""What every group of calls builds on."""

from __future__ import annotations

from typing import Generic, TypeVar
from urllib.parse import quote

from msgspec import Struct

from headrace._http import HttpTransport

T = TypeVar("T")


class Listed(Struct, Generic[T]):
    """The envelope of lists."""

    data: list[T]


class Calls:
    """Calls over one transport."""

    _http: HttpTransport


def segment(name: str) -> str:
    """A name as one segment of a path, whatever is in it."""
    return quote(name, safe="")
