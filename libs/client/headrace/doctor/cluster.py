"""What the checks of a cluster read, and nothing more: objects as the JSON of Kubernetes' API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]
"""One object of the API, as its JSON."""


class Refused(Exception):
    """The API server refused a call or could not be reached; the message is its own."""


class Cluster(Protocol):
    """An API server, and a namespace of it."""

    namespace: str

    def version(self) -> str:
        """`gitVersion`, for example v1.34.4."""
        ...

    def date(self) -> str | None:
        """The `Date` header of its last answer."""
        ...

    def kinds(self, api_version: str) -> frozenset[str]:
        """Kinds that it serves of an API, for example `ray.io/v1`; empty where it has no such API."""
        ...

    def objects(self, resource: str, selector: str = "", *, everywhere: bool = False) -> list[Object]:
        """Objects of the namespace, or of all.

        Args:
            resource: path of the list below `/api/v1` or `/apis`, without namespace: `pods`, `batch/v1/jobs`.
            selector: of labels.
            everywhere: for resources that have no namespace, and for all namespaces.

        Raises:
            Refused: not allowed, or not reached.
        """
        ...


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the chart as Helm recorded it last."""

    name: str
    status: str
    revision: int
    chart: str
    objects: tuple[Object, ...]
    """What it applied."""

    def kinds(self) -> Iterable[tuple[str, str]]:
        """API version and kind of each of its objects, once."""
        return sorted({(one["apiVersion"], one["kind"]) for one in self.objects})
