"""Calls of the gateway by HTTP and gRPC, from inside the cluster and through a port-forward."""

from __future__ import annotations

import asyncio
import json

from headrace import AsyncHeadraceGrpc
from tests.cluster.release import GRPC, NAME


def test_http_from_inside(process):
    done = json.loads(process.inside("load.py", process.url, process.key, "2", "2", "assistant"))
    assert done["failed"] == 0, done
    assert done["calls"] >= 3


def test_grpc_from_inside(process):
    said = process.inside("grpc_chat.py", f"{NAME}-gateway:{GRPC}", process.key, "assistant")
    assert said.strip()


def test_http_through_a_port_forward(process):
    with process.http() as client:
        answer = process.ask(client, "Name a colour.")
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["headrace"]["deployment"]


def test_grpc_through_a_port_forward(process):
    async def chat(port):
        async with AsyncHeadraceGrpc(f"127.0.0.1:{port}", api_key=process.key) as headrace:
            return await headrace.chat("Say hello.", model="assistant")

    with process.kube.forward(f"service/{NAME}-gateway", GRPC) as port:
        assert asyncio.run(chat(port)).text.strip()


def test_a_wrong_key_is_refused(process):
    with process.http("hr-wrong") as client:
        assert client.get("/v1/models").status_code == 401
