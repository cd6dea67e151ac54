"""Downloads over HTTP that survive: several ranges of a file at a time, retried, resumed where they stopped."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from headrace_inference.catalogue.errors import SourceFailed
from headrace_inference.catalogue.partial import Partial

RUN = 16 * 1024 * 1024
"""Most bytes asked for in one request of several; a multiple of a partial's block."""

_CONNECTIONS = 4
_CONNECT_S = 4.0
_READ_S = 30.0
_BLOCK = 256 * 1024
_TRIES = 5
_FIRST_TRIES = 2
_MOST_WAIT_S = 60.0
_SECURE = "headrace_secure"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Target:
    """What to download.

    Attributes:
        url: where.
        name: how the place is called in messages, for example `the model hub`.
        sha256: of the file; a server that announces another one is not downloaded from in vain.
        headers: credentials; they are not sent on to another host.
    """

    url: str
    name: str
    sha256: str
    headers: dict[str, str] = field(default_factory=dict)


class _Flaky(Exception):
    """It may work in a moment."""

    def __init__(self, why: str, retry_after_s: float = 0.0, away: str = "") -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s
        self.away = away
        """Host that was never reached: it is not tried for long."""

    @property
    def tries(self) -> int:
        return _FIRST_TRIES if self.away else _TRIES


class Web:
    """The network, for one pull; use it as a context manager. A host that cannot be reached is not asked again."""

    def __init__(self) -> None:
        self._client = httpx.Client(
            timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=16),
            follow_redirects=True,
            headers={"accept-encoding": "identity", "user-agent": "headrace"},
            event_hooks={"request": [_no_downgrade]},
            mounts={f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")},  # never behind a proxy
        )
        self._away: dict[str, str] = {}
        self._reached: set[str] = set()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """End all downloads soon; what they have is kept."""
        self._stop.set()

    def download(self, target: Target, partial: Partial, told: Callable[[int], None]) -> None:
        """Bring what a partial file does not have yet.

        Args:
            target: where from.
            partial: open; it is complete afterwards.
            told: called with the bytes that are there.

        Raises:
            SourceFailed: the host is away, does not have it, has another file, or broke off again and again.
        """
        told(partial.done)
        retrying = Retrying(
            retry=retry_if_exception_type(_Flaky),
            stop=lambda state: self._stop.is_set() or stop_after_attempt(_flaky(state).tries)(state),
            wait=_wait,
            sleep=self._pause,
            reraise=True,
        )
        try:
            retrying(self._whole, target, partial, told)
        except _Flaky as failure:
            why = f"{target.name}: {failure}"
            if failure.away:
                self._away[failure.away] = why
            raise SourceFailed(why) from failure

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _whole(self, target: Target, partial: Partial, told: Callable[[int], None]) -> None:
        """Ask until everything is there; a round that brought something costs no try."""
        while not partial.complete:
            before = partial.done
            try:
                self._round(target, partial, told)
            except _Flaky:
                if partial.done <= before or self._stop.wait(0.1):
                    raise

    def _round(self, target: Target, partial: Partial, told: Callable[[int], None]) -> None:
        """Ask for what is missing; on several connections where the server gives ranges."""
        runs = deque(partial.missing(RUN))
        start, end = runs.popleft()
        host = urlsplit(target.url).netloc
        headers = {"range": f"bytes={start}-{end - 1}"}
        known, _, version = partial.version.partition(" ")
        if partial.done and version and known == host:
            headers["if-range"] = version
        with self._get(target.url, target, headers) as response:
            self._verify(response, target, partial, start)
            mark = _version(host, response)
            if response.status_code == httpx.codes.OK:
                partial.restart(mark)
                self._receive(response, partial, 0, partial.size, told)
                return
            partial.of_version(mark)
            # Later ranges go straight to where the first was redirected to.
            found = Target(
                str(response.url), target.name, target.sha256, target.headers if _same(response, target) else {}
            )
            workers = min(_CONNECTIONS - 1, len(runs))
            with ThreadPoolExecutor(max(1, workers), thread_name_prefix="range") as pool:
                futures = [pool.submit(self._ranges, found, partial, runs, mark, told) for _ in range(workers)]
                self._receive(response, partial, start, end, told)
                for future in futures:
                    future.result()

    def _ranges(
        self, target: Target, partial: Partial, runs: deque[tuple[int, int]], mark: str, told: Callable[[int], None]
    ) -> None:
        """Take runs off the queue until it is empty."""
        while True:
            try:
                start, end = runs.popleft()
            except IndexError:
                return
            headers = {"range": f"bytes={start}-{end - 1}"}
            if version := mark.partition(" ")[2]:
                headers["if-range"] = version
            with self._get(target.url, target, headers) as response:
                self._verify(response, target, partial, start)
                if response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise _Flaky("the file changed while it was downloaded")
                self._receive(response, partial, start, end, told)

    @contextlib.contextmanager
    def _get(self, url: str, target: Target, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """A response whose body is not read yet; failures of the network as ours."""
        host = urlsplit(url).netloc
        if host in self._away:
            raise SourceFailed(self._away[host])
        secure = {_SECURE: urlsplit(url).scheme == "https"}
        try:
            with self._client.stream("GET", url, headers={**target.headers, **headers}, extensions=secure) as response:
                self._reached.add(host)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise self._unreachable(error, target) from error
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            raise _Flaky(f"the download broke off ({type(error).__name__})") from error
        except httpx.InvalidURL as error:
            raise SourceFailed(f"{target.name}: it redirects to an address that is none") from error

    def _unreachable(self, error: httpx.TransportError, target: Target) -> Exception:
        host = error.request.url.netloc.decode()
        why = f"{host} cannot be reached ({type(error).__name__})"
        if isinstance(error, httpx.ConnectTimeout) and host not in self._reached:
            self._away[host] = f"{target.name}: {why}"  # to wait once is enough
            return SourceFailed(self._away[host])
        return _Flaky(why, away="" if host in self._reached else host)

    def _verify(self, response: httpx.Response, target: Target, partial: Partial, start: int) -> None:
        """Whether an answer holds what was asked for, before its body is read."""
        status = response.status_code
        for step in (*response.history, response):
            linked = step.headers.get("x-linked-etag", "").strip('"')
            if len(linked) == 64 and linked != target.sha256:
                raise SourceFailed(f"{target.name} has a file with the sha256 {linked}, wanted {target.sha256}")
        if status in _TRANSIENT:
            raise _Flaky(f"it answered {status}", _retry_after(response))
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise SourceFailed(f"{target.name} answered {status}: it wants credentials, or other ones{_hint(response)}")
        if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise SourceFailed(f"{target.name} has a file that is shorter than {partial.size} bytes")
        if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise SourceFailed(f"{target.name} answered {status}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise SourceFailed(f"{target.name} compresses what it sends, which was not asked for")
        if status == httpx.codes.OK:
            length = response.headers.get("content-length", str(partial.size))
        else:
            unit, _, length = response.headers.get("content-range", "").rpartition("/")
            if not unit.startswith(f"bytes {start}-"):
                raise SourceFailed(f"{target.name} answered with another range than was asked for: {unit[:60]!r}")
        if length not in (str(partial.size), "*"):
            raise SourceFailed(f"{target.name} has a file of {length[:20]} bytes, wanted {partial.size}")

    def _receive(
        self, response: httpx.Response, partial: Partial, start: int, end: int, told: Callable[[int], None]
    ) -> None:
        writer = partial.writer(start)
        for block in response.iter_raw(_BLOCK):
            if self._stop.is_set():
                raise SourceFailed("interrupted")
            wanted = end - writer.at
            writer.write(block[:wanted])
            told(partial.done)
            if len(block) > wanted:  # more than was asked for: leave the rest unread
                break
        if writer.at < end:
            raise _Flaky(f"the download ended at byte {writer.at} of {end}")


def _no_downgrade(request: httpx.Request) -> None:
    """Refuse a redirect from https to http."""
    if request.extensions.get(_SECURE) and request.url.scheme == "http" and request.url.host not in _LOOPBACK:
        raise SourceFailed(f"it redirects from https to http: {request.url.host}")


def _flaky(state: RetryCallState) -> _Flaky:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, _Flaky) else _Flaky("")


_backoff = wait_random_exponential(multiplier=0.5, max=20)


def _wait(state: RetryCallState) -> float:
    return min(_MOST_WAIT_S, max(_backoff(state), _flaky(state).retry_after_s))


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() and len(value) < 6 else 0.0


def _version(host: str, response: httpx.Response) -> str:
    """The server's mark of the version as a partial file keeps it; empty where there is none that can be trusted."""
    etag = response.headers.get("etag", "")
    return f"{host} {etag}" if etag.startswith('"') and len(etag) < 200 else ""


def _same(response: httpx.Response, target: Target) -> bool:
    """Whether a response came from the very host that was asked."""
    asked = urlsplit(target.url)
    return (response.url.scheme, response.url.netloc.decode()) == (asked.scheme, asked.netloc)


def _hint(response: httpx.Response) -> str:
    message = response.headers.get("x-error-message", "")
    return f" ({message[:200]})" if message.isprintable() and message else ""
