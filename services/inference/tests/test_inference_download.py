"""Downloads from a server of our own on loopback: ranges, breaks, restarts, kills, several pullers."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headrace_inference.catalogue import FileUnavailable, download, pull
from headrace_inference.catalogue.partial import BLOCK
from headrace_kit.config import Environment, Snapshot, parse

WEIGHTS = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(range(251)) * 38_000
"""9.5 MB: five blocks."""
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
LIMIT_S = 120


@dataclass
class Asked:
    """A request that the server got."""

    path: str
    range: str | None
    if_range: str | None
    authorization: str | None


@dataclass
class Server:
    """A file server with moods.

    Attributes:
        files: path -> content.
        ranges: whether it knows ranges.
        etag: of all its files.
        breaks: after how many bytes it hangs up, for one answer after the other; then it is well.
        refusals: status codes that it answers with first.
        redirect: where it sends everybody.
        stall: bytes after which it sends nothing until `go`.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etag: str = '"v1"'
    breaks: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    redirect: str = ""
    stall: int | None = None
    asked: list[Asked] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    together: int = 0

    def __post_init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.go.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        with self.lock:
            headers = request.headers
            asked = Asked(request.path, headers.get("Range"), headers.get("If-Range"), headers.get("Authorization"))
            self.asked.append(asked)
            cut = self.breaks.pop(0) if self.breaks else None
            refusal = self.refusals.pop(0) if self.refusals else None
            self.together += 1
        try:
            self._answer(request, asked, cut, refusal)
        finally:
            with self.lock:
                self.together -= 1

    def _answer(self, request: BaseHTTPRequestHandler, asked: Asked, cut: int | None, refusal: int | None) -> None:
        body = self.files.get(asked.path)
        if refusal or body is None or self.redirect:
            request.send_response(refusal or (302 if self.redirect else 404))
            if self.redirect:
                request.send_header("Location", self.redirect + asked.path)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start, end = 0, len(body)
        partly = self.ranges and asked.range is not None and asked.if_range in (None, self.etag)
        if partly:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.range or "")
            assert found
            start, end = int(found[1]), min(int(found[2]) + 1, len(body))
        request.send_response(206 if partly else 200)
        if partly:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        if self.etag:
            request.send_header("ETag", self.etag)
        request.send_header("Content-Length", str(end - start))
        request.end_headers()
        content = body[start:end]
        if self.stall is not None and not self.go.is_set():
            request.wfile.write(content[: self.stall])
            request.wfile.flush()
            self.go.wait(LIMIT_S)
            content = content[self.stall :]
        request.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            request.wfile.flush()
            request.connection.shutdown(2)


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server(files={"/w.gguf": WEIGHTS})
    yield started
    started.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RUN", 2 * BLOCK)
    monkeypatch.setattr(download, "_backoff", lambda _: 0.01)


def snapshot(folder: Path, *sources: str) -> Snapshot:
    listed = "".join(f"          - {source}\n" for source in sources)
    text = f"""
catalogue:
  tiny:
    format: gguf
    licence: MIT
    files:
      - name: model.gguf
        sha256: "{DIGEST}"
        size: {len(WEIGHTS)}
        sources:
{listed}
"""
    return Snapshot(parse(text), folder / "headrace.yaml")


def fetched(folder: Path, *sources: str) -> bytes:
    env = Environment(cache_dir=folder / "cache", hub_endpoint="http://127.0.0.1:9")
    return pull(snapshot(folder, *sources), env, ["tiny"])["tiny"]["model.gguf"].read_bytes()


def url(server: Server) -> str:
    return f"{{url: '{server.url}/w.gguf'}}"


def part(folder: Path) -> Path:
    return folder / "cache" / "models" / f"{DIGEST}.part"


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def starts(server: Server) -> list[int]:
    return [int(re.findall(r"\d+", asked.range or "0")[0]) for asked in server.asked]


def test_ranges_of_a_large_file_are_fetched_at_the_same_time(tmp_path, server):
    server.stall = 1
    puller = threading.Thread(target=fetched, args=(tmp_path, url(server)))
    puller.start()
    until(lambda: server.together == 3)
    server.go.set()
    puller.join()
    assert sorted(starts(server)) == [0, 2 * BLOCK, 4 * BLOCK]
    assert fetched(tmp_path, url(server)) == WEIGHTS


def test_a_server_that_hangs_up_again_and_again_is_gone_on_with(tmp_path, server):
    server.breaks = [BLOCK + 100, 0, 2 * BLOCK - 1, 50, BLOCK]
    assert fetched(tmp_path, url(server)) == WEIGHTS
    assert not part(tmp_path).exists()
    assert all(asked.if_range == '"v1"' for asked in server.asked[1:])


def test_a_server_that_never_gets_anywhere_is_given_up(tmp_path, server):
    server.breaks = [10] * 100
    with pytest.raises(FileUnavailable, match=r"broke off|ended at byte"):
        fetched(tmp_path, url(server))
    assert len(server.asked) < 40


def test_a_server_that_is_busy_is_asked_again(tmp_path, server):
    server.refusals = [503, 429, 500]
    assert fetched(tmp_path, url(server)) == WEIGHTS
    assert len(server.asked) >= 4


def test_a_server_without_ranges_sends_all(tmp_path, server):
    server.ranges = False
    server.breaks = [3 * BLOCK]
    assert fetched(tmp_path, url(server)) == WEIGHTS
    assert len(server.asked) == 2


def test_a_file_that_changed_at_the_server_is_begun_anew(tmp_path, server):
    server.files["/w.gguf"] = b"?" * len(WEIGHTS)  # an earlier version of the same size
    server.breaks = [BLOCK * 2] + [0] * 50
    with pytest.raises(FileUnavailable):
        fetched(tmp_path, url(server))
    assert part(tmp_path).exists()
    server.files["/w.gguf"], server.etag, server.breaks, server.asked = WEIGHTS, '"v2"', [], []
    assert fetched(tmp_path, url(server)) == WEIGHTS
    assert server.asked[0].if_range == '"v1"'


def test_what_is_left_of_a_wrong_file_is_noticed_by_its_hash_and_begun_anew(tmp_path, server):
    server.etag = ""
    server.files["/w.gguf"] = b"?" * len(WEIGHTS)
    server.breaks = [BLOCK * 2] + [0] * 50
    with pytest.raises(FileUnavailable):
        fetched(tmp_path, url(server))
    server.files["/w.gguf"], server.breaks, server.asked = WEIGHTS, [], []
    assert fetched(tmp_path, url(server)) == WEIGHTS
    assert min(starts(server)[:1]) > 0, "it went on with what it had"
    assert 0 in starts(server), "and then took all of it"


def test_another_server_goes_on_with_what_the_first_one_gave(tmp_path, server):
    server.breaks = [4 * BLOCK] + [0] * 50
    other = Server(files={"/w.gguf": WEIGHTS}, etag='"other"')
    try:
        assert fetched(tmp_path, url(server), url(other)) == WEIGHTS
    finally:
        other.close()
    assert min(starts(other)) > 0


def test_a_file_of_another_size_is_not_downloaded(tmp_path, server):
    server.files["/w.gguf"] = WEIGHTS + b"more"
    with pytest.raises(FileUnavailable, match=rf"has a file of {len(WEIGHTS) + 4} bytes, wanted {len(WEIGHTS)}"):
        fetched(tmp_path, url(server))


def test_a_wrong_file_and_a_missing_one_give_way_to_the_next_source(tmp_path, server):
    server.files["/wrong.gguf"] = WEIGHTS[:-1] + b"?"
    sources = [f"{{url: '{server.url}/{name}.gguf'}}" for name in ("wrong", "missing", "w")]
    with pytest.raises(FileUnavailable) as failed:
        fetched(tmp_path, *sources[:2])
    for said in (DIGEST, hashlib.sha256(server.files["/wrong.gguf"]).hexdigest(), "answered 404"):
        assert said in failed.value.message
    assert fetched(tmp_path, *sources) == WEIGHTS


def test_credentials_go_to_their_server_and_nowhere_else(tmp_path, server, monkeypatch):
    other = Server(files={"/w.gguf": WEIGHTS})
    server.redirect = other.url
    monkeypatch.setenv("HEADRACE_SECRET_STORE", "s3cret")
    try:
        assert fetched(tmp_path, f"{{url: '{server.url}/w.gguf', credentials: {{secret: store}}}}") == WEIGHTS
    finally:
        other.close()
    assert {asked.authorization for asked in server.asked} == {"Bearer s3cret"}
    assert {asked.authorization for asked in other.asked} == {None}


def test_missing_credentials_are_named(tmp_path, server):
    with pytest.raises(FileUnavailable, match="secret 'store', are not set"):
        fetched(tmp_path, f"{{url: '{server.url}/w.gguf', credentials: {{secret: store}}}}")
    server.refusals = [401]
    with pytest.raises(FileUnavailable, match="answered 401: it wants credentials"):
        fetched(tmp_path, url(server))


PULLER = """
import sys
from pathlib import Path
from headrace_inference.catalogue import download, pull
from headrace_kit.config import Environment, Snapshot, load
download.RUN = int(sys.argv[3])
path = Path(sys.argv[1])
pull(Snapshot(load(path), path), Environment(cache_dir=Path(sys.argv[2])), ["tiny"])
"""


def puller(folder: Path, server: Server) -> subprocess.Popen[bytes]:
    config = folder / "headrace.yaml"
    config.write_text(
        f"""
catalogue:
  tiny:
    format: gguf
    licence: MIT
    files: [{{name: model.gguf, size: {len(WEIGHTS)}, sha256: "{DIGEST}", sources: [{url(server)}]}}]
"""
    )
    command = [sys.executable, "-c", PULLER, str(config), str(folder / "cache"), str(16 * BLOCK)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_a_puller_killed_in_the_middle_is_gone_on_from_where_it_was(tmp_path, server):
    server.stall = 3 * BLOCK + 5
    killed = puller(tmp_path, server)
    marks = part(tmp_path).with_name(part(tmp_path).name + ".map")
    until(lambda: marks.exists() and marks.read_bytes().partition(b"\n")[2].count(b"1") == 3)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    server.go.set()
    server.asked.clear()
    assert fetched(tmp_path, url(server)) == WEIGHTS
    assert min(starts(server)) == 3 * BLOCK
    assert not part(tmp_path).exists()


def test_two_pullers_of_one_file_download_it_once(tmp_path, server):
    server.stall = BLOCK
    first, second = puller(tmp_path, server), puller(tmp_path, server)
    until(lambda: part(tmp_path).exists())
    server.go.set()
    for process in (first, second):
        assert process.wait(LIMIT_S) == 0, process.communicate()[1]
        process.communicate()
    assert len(server.asked) == 1


def test_this_machine_is_never_behind_a_proxy(tmp_path, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert fetched(tmp_path, url(server)) == WEIGHTS
