"""Readiness of the Ray host, against real sockets. Ray is not needed."""

from __future__ import annotations

import importlib
import json
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from headrace_kit.hosting.ray_ready import ReadyPort, add_functions, unroutable
from headrace_kit.rpc import metadata
from headrace_protos.common.v1 import node_pb2_grpc


def ask(port: int, path: str) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_it_tells_what_is_missing():
    problems = ["starting"]
    with ReadyPort("127.0.0.1", 0, lambda: problems) as ready:
        assert ask(ready.port, "/healthz")[0] == 200
        assert ask(ready.port, "/readyz") == (503, {"status": "not ready", "problems": ["starting"]})
        problems.clear()
        assert ask(ready.port, "/readyz") == (200, {"status": "ready", "problems": []})
        assert ask(ready.port, "/other")[0] == 404


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            ReadyPort("127.0.0.1", port, list)


def test_serve_is_told_of_every_rpc():
    names = add_functions()
    assert "headrace_protos.gateway.v1.service_pb2_grpc.add_GatewayServiceServicer_to_server" in names
    assert "headrace_protos.common.v1.node_pb2_grpc.add_NodeServiceServicer_to_server" in names
    for name in names:
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


class Node(node_pb2_grpc.NodeServiceServicer):
    """Serve's answers: the application's refusal where it is routed, NOT_FOUND where not."""

    def GetStatus(self, request, context):
        named = dict(context.invocation_metadata())[metadata.APPLICATION]
        context.abort(grpc.StatusCode.UNAUTHENTICATED if named == "gateway" else grpc.StatusCode.NOT_FOUND, "no")


def test_an_application_is_routable_when_it_refuses_by_itself():
    server = grpc.server(ThreadPoolExecutor(2))
    node_pb2_grpc.add_NodeServiceServicer_to_server(Node(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert unroutable(f"127.0.0.1:{port}", ["gateway", "tracing"]) == ["tracing"]
    finally:
        server.stop(None).wait()
    assert unroutable(f"127.0.0.1:{port}", ["gateway"]) == ["gateway"]
