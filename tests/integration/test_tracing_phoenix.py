"""A request's spans in a real Arize Phoenix, forwarded to it: the same tree, and the same token counts."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.tracing.peer import PYTHON, phoenix
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="Phoenix is not installed: infra/local/bootstrap.sh phoenix makes its environment, 0.6 GB",
)

EMAIL = "ana.lopez@example.org"
PROMPT, COMPLETION = 17, 5
_QUERY = """{ projects { edges { node { name tokenCountPrompt tokenCountCompletion spans(first: 100) { edges { node {
name parentId spanKind tokenCountPrompt tokenCountCompletion attributes context { traceId spanId } } } } } } } }"""


class _Model(BaseHTTPRequestHandler):
    """An endpoint of OpenAI's that always says the same, and counts its tokens."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = {
            "id": "answer",
            "object": "chat.completion",
            "created": 1,
            "model": "mock",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "It is."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": PROMPT + COMPLETION},
        }
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def asked(url: str, body: dict[str, Any], **headers: str) -> tuple[Any, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer), answer.headers


def test_a_request_is_shown_with_its_tree_and_its_tokens(tmp_path, model):
    folder = tmp_path / "phoenix"
    folder.mkdir()
    config = tmp_path / "headrace.yaml"
    with phoenix(folder) as shown:
        config.write_text(
            json.dumps(
                {
                    "tenants": {"red": {}},
                    "deployments": {"out": {"engine": "openai", "address": model, "model": "mock"}},
                    "models": {"assistant": {"deployment": "out"}},
                    "services": {"tracing": {"forward": [{"url": f"{shown.url}/v1/traces"}]}},
                }
            )
        )
        platform = Platform(Settings(data_dir=tmp_path / "data", port_base=free_port_base(), config=config))
        platform.start(["postgres", "schema", "valkey", "tracing", "gateway"], bound=True)
        try:
            admin = (platform.layout.secrets / "bootstrap-admin-key").read_text().strip()
            made, _ = asked(
                f"{platform.url}/v1/admin/keys", {"tenant": "red", "name": "test"}, authorization=f"Bearer {admin}"
            )
            _, headers = asked(
                f"{platform.url}/v1/chat/completions",
                {"model": "assistant", "messages": [{"role": "user", "content": f"Is {EMAIL} right?"}]},
                authorization=f"Bearer {made['key']}",
            )
            spans, project = _shown(shown.url, headers["x-headrace-trace-id"])
        finally:
            platform.stop()
    root = next(span for span in spans if span["parentId"] is None)
    assert root["name"] == "chat assistant"
    assert "Is [EMAIL_" in root["attributes"] and EMAIL not in json.dumps(spans)
    ids = {span["context"]["spanId"] for span in spans}
    assert {span["parentId"] for span in spans} <= ids | {None}
    counted = [span for span in spans if span["tokenCountPrompt"]]
    assert [(span["tokenCountPrompt"], span["tokenCountCompletion"]) for span in counted] == [(PROMPT, COMPLETION)]
    assert counted[0]["spanKind"] == "llm" and counted[0]["parentId"] == root["context"]["spanId"]
    assert (project["tokenCountPrompt"], project["tokenCountCompletion"]) == (PROMPT, COMPLETION), "nothing is twice"


def _shown(url: str, trace_id: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The spans of a trace and its project, once the root and the model's call are there."""
    deadline = time.monotonic() + 120
    while True:
        answer, _ = asked(f"{url}/graphql", {"query": _QUERY})
        assert "errors" not in answer, answer
        for edge in answer["data"]["projects"]["edges"]:
            project = edge["node"]
            spans = [span["node"] for span in project["spans"]["edges"]]
            found = [span for span in spans if span["context"]["traceId"] == trace_id]
            if any(span["parentId"] is None for span in found) and any(span["tokenCountPrompt"] for span in found):
                return found, project
        assert time.monotonic() < deadline, f"Phoenix does not show the trace: {answer}"
        time.sleep(0.3)
