"""`headrace doctor` against a fake platform and a fake API server, both behind real sockets on loopback."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from typer.testing import CliRunner

from headrace.cli.app import app

NAMESPACE, RELEASE = "genai", "headrace"
LABELS = {"app.kubernetes.io/instance": RELEASE}
MANIFEST = [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}},
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b"}},
    {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "c"}},
]


def helm_record(revision: int, status: str) -> dict:
    told = {
        "version": revision,
        "info": {"status": status},
        "chart": {"metadata": {"name": "headrace", "version": "0.1.0"}},
        "manifest": "---\n".join(yaml.safe_dump(one) for one in MANIFEST),
    }
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(told).encode()))).decode()
    labels = {"owner": "helm", "name": RELEASE, "version": str(revision)}
    return {"metadata": {"name": f"r{revision}", "labels": labels}, "data": {"release": packed}}


def pod(name: str, service: str = "gateway", **more) -> dict:
    image = f"localhost/headrace/{service}:{more.pop('tag', version('headrace'))}"
    spec = {"containers": [{"name": service, "image": image, **more.pop("container", {})}], **more.pop("spec", {})}
    ready = {"type": "Ready", "status": "True"}
    status = {"phase": "Running", "conditions": [ready], "containerStatuses": [], **more.pop("status", {})}
    return {"metadata": {"name": name, "labels": LABELS, **more}, "spec": spec, "status": status}


class FakeApi:
    """Lists by path, and the kinds of each API; a path in `refused` answers 403."""

    def __init__(self) -> None:
        self.version = "v1.34.4"
        self.refused: set[str] = set()
        self.apis = {"v1": ["Secret"], "apps/v1": ["Deployment"], "ray.io/v1": ["RayService"]}
        self.secrets = [helm_record(1, "superseded"), helm_record(2, "deployed")]
        self.lists: dict[str, list[dict]] = {"pods": [pod("gateway-0")]}
        self.url = ""
        self.date = ""  # that of now

    def answer(self, path: str, selector: str) -> tuple[int, object]:
        if path == "/version":
            return 200, {"gitVersion": self.version}
        for api, kinds in self.apis.items():
            if path == f"/{'apis' if '/' in api else 'api'}/{api}":
                return 200, {"resources": [{"kind": kind} for kind in kinds]}
        name = path.rpartition("/")[2]
        if name in self.refused:
            return 403, {"message": f"{name} is forbidden: no such right"}
        if name == "secrets" or name in {"pods", "configmaps", "jobs", "persistentvolumeclaims", "nodes"}:
            assert name == "nodes" or f"/namespaces/{NAMESPACE}/" in path
            found = self.secrets if name == "secrets" else self.lists.get(name, [])
            wanted = dict(one.split("=") for one in selector.split(",") if one)
            kept = [
                one for one in found if wanted.items() <= one["metadata"].get("labels", {}).items() or name == "jobs"
            ]
            return 200, {"items": kept}
        return 404, {"message": "the server could not find the requested resource"}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, told = fake.answer(parts.path, parse_qs(parts.query).get("labelSelector", [""])[0])
            body = json.dumps(told).encode()
            self.send_response_only(status)
            self.send_header("Date", fake.date or formatdate(usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def look(api, monkeypatch, tmp_path):
    """Run doctor on the fake cluster; returns its findings by check."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_URL", raising=False)

    def call(*arguments: str, code: int = 0) -> dict[str, list[dict]]:
        result = CliRunner().invoke(app, ["doctor", "--release", RELEASE, "--json", *arguments])
        assert result.exit_code == code, result.output + repr(result.exception)
        found: dict[str, list[dict]] = {}
        for one in json.loads(result.stdout):
            found.setdefault(one["check"], []).append(one)
        return found

    return call


def problems(found: dict[str, list[dict]]) -> list[dict]:
    return [one for some in found.values() for one in some if one["state"] in ("problem", "warning")]


def test_a_whole_installation(look):
    found = look()
    assert not problems(found), problems(found)
    assert found["release"][0]["what"] == "headrace 0.1.0, revision 2, deployed"
    assert found["apis"][0]["what"] == "the cluster knows all 3 kinds of the release"
    assert set(found) == {"api", "clock", "release", "apis", "pods", "versions"}


def test_no_such_release_says_how_to_find_it(look, api):
    api.secrets.clear()
    found = look(code=1)
    assert "no release 'headrace' in the namespace genai" in found["release"][0]["what"]
    assert "helm list -A" in found["release"][0]["advice"]


@pytest.mark.parametrize(
    ("status", "advice"), [("pending-upgrade", "helm rollback headrace -n genai"), ("failed", "mend the values")]
)
def test_a_release_that_is_not_deployed(look, api, status, advice):
    api.secrets.append(helm_record(10, status))
    (found,) = look(code=1)["release"]
    assert status in found["what"]
    assert "10" in found["what"]
    assert advice in found["advice"]


def test_an_operator_that_is_gone(look, api):
    del api.apis["ray.io/v1"]
    (found,) = problems(look(code=1))
    assert "RayService (ray.io/v1)" in found["what"]
    assert "KubeRay operator" in found["advice"]


def test_a_version_of_kubernetes_that_nobody_tried(look, api):
    api.version = "v1.28.9-gke.1"
    (found,) = problems(look())
    assert "1.29 to 1.37" in found["what"]


def test_a_clock_that_is_off(look, api):
    api.date = "Mon, 02 Nov 2026 10:00:00 GMT"
    assert problems(look(code=1))[0]["check"] == "clock"


WAITING = {"reason": "ImagePullBackOff", "message": "not found"}


@pytest.mark.parametrize(
    ("broken", "said", "advice"),
    [
        (
            {"status": {"containerStatuses": [{"name": "gateway", "state": {"waiting": WAITING}}]}},
            "ImagePullBackOff: not found",
            "image.pullSecrets",
        ),
        (
            {
                "status": {
                    "containerStatuses": [
                        {"name": "gateway", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 7}
                    ],
                    "conditions": [{"type": "Ready", "status": "False"}],
                }
            },
            "CrashLoopBackOff",
            "kubectl logs broken -c gateway --previous",
        ),
        (
            {
                "status": {
                    "containerStatuses": [
                        {"name": "gateway", "restartCount": 2, "lastState": {"terminated": {"reason": "OOMKilled"}}}
                    ]
                }
            },
            "killed for memory, 2 restarts",
            "resources.limits.memory",
        ),
        (
            {"status": {"conditions": [{"type": "Ready", "status": "False", "message": "unready containers"}]}},
            "not ready: unready containers",
            "/readyz",
        ),
        (
            {
                "container": {"resources": {"limits": {"nvidia.com/gpu": "2"}}},
                "status": {
                    "phase": "Pending",
                    "conditions": [
                        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient nvidia.com/gpu"}
                    ],
                },
            },
            "Insufficient nvidia.com/gpu",
            "device plugin",
        ),
    ],
)  # fmt: skip
def test_a_pod_that_does_not_serve(look, api, broken, said, advice):
    api.lists["pods"].append(pod("broken", **broken))
    told = look(code=0 if "not ready" in said else 1)["pods"]
    (found,) = [one for one in told if one["what"].startswith("broken")]
    assert said in found["what"]
    assert advice in found["advice"]
    assert told[-1]["what"] == "1 of 2 pods are as they should be"


def test_gpus_that_no_node_offers(look, api):
    api.lists["pods"].append(pod("triton", "triton", container={"resources": {"limits": {"nvidia.com/gpu": "2"}}}))
    node = {"metadata": {"name": "n"}, "status": {"allocatable": {}}}
    api.lists["nodes"] = [node]
    assert look(code=1)["gpus"][0]["what"] == "pods ask for 2 GPUs and no node offers one"
    node["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    assert look(code=1)["gpus"][0]["what"] == "pods ask for 2 GPUs, nodes offer 1"
    node["status"]["allocatable"]["nvidia.com/gpu"] = "8"
    assert look()["gpus"][0]["state"] == "ok"


def test_secrets_and_keys_that_pods_name(look, api):
    spec = {
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [
            {"name": "v", "secret": {"secretName": "signing", "items": [{"key": "gateway.pem", "path": "x"}]}},
            {"name": "w", "projected": {"sources": [{"configMap": {"name": "config"}}]}},
            {"name": "o", "secret": {"secretName": "left-out", "optional": True}},
        ],
    }
    api.lists["pods"] = [pod("gateway-0", spec=spec)]
    api.secrets.append({"metadata": {"name": "signing"}, "data": {"jwks.json": ""}})
    told = [one["what"] for one in look(code=1)["references"]]
    assert told == [
        "gateway-0 needs the ConfigMap config, which is not there",
        "gateway-0 needs the Secret registry, which is not there",
        "gateway-0 needs the key gateway.pem of the Secret signing, which lacks it",
    ]


def test_jobs_and_volumes(look, api):
    failed = {"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}
    api.lists["jobs"] = [{"metadata": {"name": "migrate"}, "status": {"conditions": [failed]}}]
    claim = {"metadata": {"name": "data", "labels": LABELS}, "spec": {"storageClassName": "fast"}}
    api.lists["persistentvolumeclaims"] = [claim | {"status": {"phase": "Pending"}}]
    found = look(code=1)
    assert found["jobs"][0]["advice"] == "kubectl logs job/migrate"
    assert found["volumes"][0]["what"] == "data is Pending, of fast"


def test_services_of_two_versions(look, api):
    api.lists["pods"].append(pod("tracing-0", "tracing", tag="0.0.9"))
    (found,) = problems(look())
    assert "0.0.9: tracing" in found["what"]


def test_what_may_not_be_seen_is_said(look, api):
    api.refused = {"secrets", "nodes"}
    found = look()
    states = {check: some[0]["state"] for check, some in found.items()}
    assert states["release"] == states["gpus"] == "unknown"
    assert "no such right" in found["release"][0]["what"]
    assert states["pods"] == "ok"


def test_no_cluster_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    result = CliRunner().invoke(app, ["doctor", "--release", RELEASE])
    assert result.exit_code == 1
    assert "no cluster to look at" in result.stderr


def test_an_api_server_that_is_away(look, api, monkeypatch):
    monkeypatch.setattr(api, "answer", lambda *_: (503, {"message": "shutting down"}))
    (found,) = problems(look(code=1))
    assert "503 shutting down" in found["what"]


@pytest.fixture
def here(fake, monkeypatch):
    """Run doctor on the fake platform; returns its findings by check."""
    monkeypatch.setenv("HEADRACE_URL", fake.url)
    monkeypatch.setenv("HEADRACE_ADMIN_KEY", "hr_admin")

    def call(code: int = 0) -> dict[str, list[dict]]:
        result = CliRunner().invoke(app, ["doctor", "--json"])
        assert result.exit_code == code, result.output + repr(result.exception)
        found: dict[str, list[dict]] = {}
        for one in json.loads(result.stdout):
            found.setdefault(one["check"], []).append(one)
        return found

    return call


def test_a_whole_platform(here, fake):
    fake.config = {"active": "abc"}
    found = here()
    assert [some[0]["state"] for some in found.values()] == ["ok"] * len(found)
    assert found["deployments"][0]["what"] == "small is ready on triton-llamacpp"
    assert found["config"][0]["what"] == "abc is in force"


def test_a_config_that_was_refused(here, fake):
    fake.config = {"active": "abc", "pending": "def", "error": "line 3: models.assistant: no such deployment"}
    found = here(1)
    assert "line 3" in found["config"][0]["what"]


def test_a_key_that_is_no_admins(here, monkeypatch):
    monkeypatch.setenv("HEADRACE_ADMIN_KEY", "hr_team")
    assert "HEADRACE_ADMIN_KEY" in here(1)["config"][0]["advice"]


def test_a_platform_that_is_away(here, monkeypatch):
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:1")
    (found,) = problems(here(1))
    assert "does not answer" in found["what"]


def test_for_people_it_is_lines_with_advice(fake, monkeypatch):
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:1")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("✗ gateway")
    assert second.strip().startswith("→ `make up`")
