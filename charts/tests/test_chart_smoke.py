"""What `helm install` prints at the end, and what `helm test` asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "headrace"


def test_the_notes_print_the_next_commands(tmp_path):
    done = subprocess.run(
        [ROOT / ".tools/helm/helm", "install", "headrace", CHART, "-n", "platform", "--dry-run=client"],
        env={**os.environ, "KUBECONFIG": str(tmp_path / "none")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    notes = done.stdout.partition("NOTES:")[2]
    for command in (
        "helm test headrace -n platform",
        "get secret headrace-generated -o jsonpath='{.data.bootstrap-admin-key}'",
        "kubectl -n platform port-forward svc/headrace-gateway 7800 7801",
        "http://127.0.0.1:7800/v1/chat/completions",
        "delete pvc,secret -l app.kubernetes.io/instance=headrace",
    ):
        assert command in notes, done.stderr


class Gateway(BaseHTTPRequestHandler):
    """As much of one as the test asks for."""

    def do_GET(self) -> None:
        if self.path == "/v1/admin/deployments":
            self._answer(200, {"data": [{"name": "small", "state": self.server.states.pop(0)}]})
        else:
            assert self.path == "/v1/models"
            self._answer(200, {"data": [{"id": "minilm"}, {"id": "small"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        if self.server.refuses and self.path == self.server.refuses:
            self._answer(400, {"error": {"message": "no such thing"}})
        elif self.path == "/v1/admin/keys":
            self._answer(201, {"key": "team-key"})
        else:
            self._answer(200, {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})

    def _answer(self, status: int, body: dict) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def gateway():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.states, server.asked, server.refuses = ["ready"], [], ""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def smoke(gateway, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "bootstrap-admin-key").write_text("admin-key\n")
    env = {**os.environ, "HEADRACE_CONFIG": str(CHART / "files/headrace.yaml"), "HEADRACE_SECRETS_DIR": str(folder)}
    url = f"http://127.0.0.1:{gateway.server_address[1]}"
    return subprocess.run(
        [sys.executable, str(CHART / "files/smoke.py"), url], env=env, capture_output=True, text=True, check=False
    )


def test_it_waits_for_the_models_and_asks_one(gateway, tmp_path):
    gateway.states = ["loading", "ready"]
    done = smoke(gateway, tmp_path)
    assert done.returncode == 0, done.stderr
    (path, key, body), (chat, team, asked) = gateway.asked
    assert (path, key, body["tenant"]) == ("/v1/admin/keys", "Bearer admin-key", "dev")
    assert (chat, team, asked["model"]) == ("/v1/chat/completions", "Bearer team-key", "small"), "one that generates"
    assert done.stdout.endswith("passed\n")


def test_a_refusal_fails_and_says_what_was_answered(gateway, tmp_path):
    gateway.refuses = "/v1/chat/completions"
    done = smoke(gateway, tmp_path)
    assert done.returncode == 1
    assert "no such thing" in done.stderr
