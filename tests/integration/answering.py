"""A gateway before an endpoint outside that always gives the same answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings


class Upstream(BaseHTTPRequestHandler):
    """Gives `answer` to each call; a subclass says which, and may look at what was sent in `seen`."""

    protocol_version = "HTTP/1.1"
    answer: object

    def seen(self, sent: bytes) -> None:
        """What was sent to `self.path`."""

    def do_POST(self) -> None:
        self.seen(self.rfile.read(int(self.headers["content-length"])))
        said = json.dumps(self.answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def gateway_before(upstream: type[Upstream], folder: Path, config: str) -> Iterator[Platform]:
    """A gateway with its stores; `PORT` in the config stands for the endpoint's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), upstream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = folder / "headrace.yaml"
    path.write_text(config.replace("PORT", str(server.server_address[1])))
    platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=path))
    platform.start(["postgres", "schema", "valkey", "gateway"], bound=True)
    try:
        yield platform
    finally:
        platform.stop()
        server.shutdown()
        server.server_close()
