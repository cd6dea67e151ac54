"""Readiness of the Ray host: its own port, the RPCs that Serve must know, and whether Serve brings calls through."""

from __future__ import annotations

import importlib
import json
import pkgutil
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import grpc

import headrace_protos
from headrace_kit.rpc import metadata

_OTLP = "opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc.add_TraceServiceServicer_to_server"
"""The gateway's, for spans of applications."""

_PROBE = "/headrace.common.v1.NodeService/GetStatus"
_NOT_THERE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def add_functions() -> list[str]:
    """Import paths of the functions that add our servicers to a server, for Serve's `grpc_servicer_functions`."""
    found = [_OTLP]
    for module in pkgutil.walk_packages(headrace_protos.__path__, "headrace_protos."):
        if module.name.endswith("_pb2_grpc"):
            names = vars(importlib.import_module(module.name))
            found += [f"{module.name}.{name}" for name in names if _adds_servicer(name)]
    return sorted(found)


def _adds_servicer(name: str) -> bool:
    return name.startswith("add_") and name.endswith("_to_server")


def unroutable(address: str, services: Sequence[str]) -> list[str]:
    """Those of `services` that a call to Serve's gRPC port does not reach.

    The call carries no token: the application's own refusal proves that it was reached.
    """
    missing = []
    with grpc.insecure_channel(address) as channel:
        probe = channel.unary_unary(_PROBE)
        for name in services:
            try:
                probe(b"", metadata=((metadata.APPLICATION, name),), timeout=2)
            except grpc.RpcError as error:
                if error.code() in _NOT_THERE:
                    missing.append(name)
    return missing


class ReadyPort:
    """`/healthz` and `/readyz` in a thread of their own. Raises OSError when the port is taken.

    Args:
        problems: why the platform is not ready; an empty list when it is.
    """

    def __init__(self, host: str, port: int, problems: Callable[[], list[str]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = problems() if self.path == "/readyz" else []
                body = json.dumps({"status": "not ready" if found else "ready", "problems": found}).encode()
                self.send_response(404 if self.path not in ("/healthz", "/readyz") else 503 if found else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes are not news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> ReadyPort:
        threading.Thread(target=self._server.serve_forever, name="ready-port", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
