"""Addresses that carry data out: pictures that load by themselves, links that hold what nobody would type."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl, urlsplit

from headrace_detectors._pattern import Accepted, Candidate, Pattern
from headrace_detectors.errors import BadCheck

_URL = r"https?://[^\s<>\"'`)\]]+"
_IMAGE = rf"(?i)!\[[^\]\n]*\]\(\s{{0,4}}<?({_URL})"
_IMAGE_BY_NAME = rf"(?i)(?:^|\n)\s{{0,3}}\[[^\]\n]{{1,60}}\]:\s{{1,4}}<?({_URL})"
_TAG = (
    r"(?i)<(?:img|iframe|script|embed|object|source|video|audio|link|form)\b[^>]*?"
    rf"(?:src|href|data|action)\s?=\s?[\"']?({_URL})"
)
_LINK = rf"(?i)({_URL})"
_DATA_URI = r"(?i)\bdata:(?:text/html|image/svg\+xml|application/javascript)[;,][^\s\"')>]+"
_CSS = rf"(?i)\burl\(\s{{0,4}}[\"']?({_URL})"

_IPV4 = re.compile(r"^\d{1,3}(?:\.\d{1,3}){3}$")
_LONG_VALUE = 24
_LONG_LABEL = 30
_HOST = re.compile(r"^(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*$")

URL_KINDS = ("image", "data_link", "ip_host", "data_uri", "unknown_host")
"""What can be found about addresses. `unknown_host`: any that `allow_hosts` does not name."""

DEFAULT_URL_KINDS = ("image", "data_link", "ip_host", "data_uri")


def hosts_of(names: Sequence[str]) -> frozenset[str]:
    """Hosts as they are compared.

    Raises:
        BadCheck: one that is no host name; `*.` in front stands for whatever is below a domain.
    """
    lowered = [name.lower() for name in names]
    for index, name in enumerate(lowered):
        if not _HOST.match(name):
            raise BadCheck(f"{name!r} is no host name", path=f"allow_hosts[{index}]")
    return frozenset(lowered)


def url_patterns(kinds: Sequence[str], allow_hosts: Sequence[str]) -> list[Pattern]:
    """The patterns of some kinds, for everything but the hosts that are allowed."""
    allowed = hosts_of(allow_hosts)

    def judged(score: Callable[[str], float]) -> Callable[[Candidate], Accepted | None]:
        def accept(candidate: Candidate) -> Accepted | None:
            value = candidate.value.rstrip(".,;:!?")
            host = _host(value)
            if host is None or _allowed(host, allowed):
                return None
            points = score(value)
            return Accepted(points, len(value)) if points else None

        return accept

    made: dict[str, list[Pattern]] = {
        "image": [
            Pattern("image", _IMAGE, accept=judged(_image), group=1),
            Pattern("image", _IMAGE_BY_NAME, accept=judged(_image), group=1),
            Pattern("image", _TAG, accept=judged(_image), group=1),
            Pattern("image", _CSS, accept=judged(_image), group=1),
        ],
        "data_link": [Pattern("data_link", _LINK, accept=judged(_carries), group=1)],
        "ip_host": [Pattern("ip_host", _LINK, accept=judged(_ip), group=1)],
        "data_uri": [Pattern("data_uri", _DATA_URI)],
        "unknown_host": [Pattern("unknown_host", _LINK, accept=judged(lambda _: 0.7), group=1)],
    }
    return [pattern for kind in URL_KINDS if kind in kinds for pattern in made[kind]]


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _allowed(host: str, allowed: frozenset[str]) -> bool:
    parents = host.split(".")
    return host in allowed or any("*." + ".".join(parents[at:]) in allowed for at in range(1, len(parents)))


def _image(url: str) -> float:
    """Every picture from elsewhere is fetched without a click; one with a query takes something along."""
    parts = urlsplit(url)
    return 0.9 if parts.query or _carries(url) else 0.6


def _ip(url: str) -> float:
    host = _host(url) or ""
    return 0.6 if _IPV4.match(host) and not host.startswith(("127.", "10.", "192.168.")) else 0.0


def _carries(url: str) -> float:
    """Whether an address holds what looks like data: long values, a long label of its host, a login."""
    parts = urlsplit(url)
    if parts.username or parts.password:
        return 0.7
    values = [value for _, value in parse_qsl(parts.query)] or ([parts.query] if parts.query else [])
    if any(len(value) >= _LONG_VALUE and (" " in value or _mixed(value)) for value in values):
        return 0.7
    if any(len(label) >= _LONG_LABEL and _mixed(label) for label in (parts.hostname or "").split(".")):
        return 0.7
    return 0.6 if re.search(r"[{<](?:\w[\w ]{0,40})[}>]", url) else 0.0


def _mixed(value: str) -> bool:
    return sum(any(test(char) for char in value) for test in (str.islower, str.isupper, str.isdigit)) >= 2
