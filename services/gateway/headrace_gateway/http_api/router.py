"""From method and path to a handler."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from msgspec import Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.port import Request, Response, Stream

Handler = Callable[[Visit, Request, Mapping[str, str]], Awaitable[Response | Stream]]
"""Serves a request that was let in; raises typed errors. The mapping holds the path's parameters."""

PARAMETER = re.compile(r"\{(\w+)(\*?)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """A path with parameters (`{name}`; `{name*}` takes slashes too) and its handler for one method.

    `admin` routes are for keys with that scope, `public` ones need no key and are never refused for load. On
    `repeatable` ones an `Idempotency-Key` is honoured. The rest is for the OpenAPI document: the struct that a body is
    decoded as, the text fields of a form that may be sent with files instead, the names of query parameters, the shape
    of the answer, and whether it may also come as events.
    """

    method: str
    path: str
    handler: Handler
    admin: bool = False
    traced: bool | None = None
    public: bool = False
    body: type[Struct] | None = None
    body_optional: bool = False
    files: tuple[str, ...] = ()
    query: frozenset[str] = frozenset()
    answer: type[Struct] | None = None
    streams: bool = False
    repeatable: bool = False
    media_type: str = "application/json"

    @property
    def is_traced(self) -> bool:
        """Whether requests are recorded as traces: those that change or make something, unless said otherwise."""
        return self.method != "GET" if self.traced is None else self.traced


@dataclass(frozen=True, slots=True)
class Match:
    """What a path led to. Without `route` the path exists, but not for this method."""

    route: Route | None
    parameters: Mapping[str, str]
    allow: tuple[str, ...]


class Router:
    """All routes: exact paths by one lookup, the others by one regular expression each."""

    def __init__(self, routes: list[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_pattern: dict[str, dict[str, Route]] = {}
        for route in routes:
            if "{" in route.path:
                by_pattern.setdefault(_regex(route.path), {})[route.method] = route
            else:
                self._exact.setdefault(route.path, {})[route.method] = route
        self._patterns = [(re.compile(pattern, re.DOTALL), found) for pattern, found in by_pattern.items()]

    def match(self, method: str, path: str) -> Match | None:
        """The route of a request; None where no route has this path."""
        methods, parameters = self._exact.get(path), {}
        if methods is None:
            for pattern, candidates in self._patterns:
                if found := pattern.fullmatch(path):
                    methods, parameters = candidates, found.groupdict()
                    break
            else:
                return None
        return Match(methods.get(method), parameters, tuple(sorted(methods)))


def _regex(path: str) -> str:
    """`/a/{b}` as a regular expression; a parameter ends at a slash, and a colon ends it where one follows."""
    parts, at = [], 0
    for found in PARAMETER.finditer(path):
        parts.append(re.escape(path[at : found.start()]))
        parts.append(f"(?P<{found[1]}>.+)" if found[2] else f"(?P<{found[1]}>[^/]+?)")
        at = found.end()
    return "".join(parts) + re.escape(path[at:])
