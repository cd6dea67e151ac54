"""The chart, installed in a namespace of its own that enforces the restricted pod security standard."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML

from infra.cluster.progress import say, step
from infra.images.plan import SERVICES
from tests.cluster.kube import Kube, KubeError, ready, wait
from tests.cluster.source import CACHE, ROOT, TAG, Packages, Source

CHART = ROOT / "charts" / "headrace"
VALUES = Path(__file__).parent / "values"
PODS = Path(__file__).parent / "pods"
NAME = "headrace"
HTTP, GRPC = 7800, 7801
IN_BACKGROUND = """
import subprocess, sys
from pathlib import Path
script, told = Path("/tmp/load.py"), Path("/tmp/load.json")
script.write_text(sys.stdin.read())
with told.open("w") as out, open("/tmp/load.err", "w") as err:
    subprocess.Popen([sys.executable, script, *sys.argv[1:]], stdout=out, stderr=err, start_new_session=True)
"""
RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _listed(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of every file below a folder."""
    found = {path.relative_to(folder): path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


class Release:
    """One installation.

    Args:
        source: the cluster.
        namespace: its own.
        runtime: `process` or `ray`.

    `chart`, `base` (the folder of the tests' values) and `tag` are what the next `helm` takes.
    """

    def __init__(self, source: Source, namespace: str, runtime: str) -> None:
        self.source, self.runtime = source, runtime
        self.kube = Kube(source.environment(), namespace)
        self.installed_s: float | None = None
        self.chart, self.base, self.tag = CHART, VALUES, TAG
        self._key: str | None = None
        self._current: tuple[str, Mapping[str, Any] | None] | None = None
        """Tag and extra values of the last `helm` that succeeded."""

    # -- life ---------------------------------------------------------------------------------------------------------
    def install(self) -> None:
        """Install what is not installed yet, wait until it is ready, and make a key."""
        names = ("ray", "tools", "triton") if self.runtime == "ray" else (*SERVICES, "tools", "triton")
        self.source.images(*names)
        self.source.lookalikes()
        if self.runtime == "ray" and not self.source.addon("kuberay"):
            say("the KubeRay operator is taken to be there")
        self._namespace()
        self._models()
        self.pod("bench")
        if NAME in self.kube.helm("list", "--short"):
            return
        begun = time.monotonic()
        with step(f"installing the chart with runtime: {self.runtime}"):
            self.helm("install")
        self.installed_s = time.monotonic() - begun

    def helm(
        self,
        command: str,
        *words: str,
        values: Mapping[str, Any] | None = None,
        timeout: str = "12m",
        force: bool = True,
    ) -> str:
        """`helm install` or `helm upgrade` with the tests' values, and some on top."""
        extra = ["--values", "-"] if values else []
        if command == "upgrade" and force:
            # parts before may have scaled by kubectl, whose field it is then
            extra.append("--force-conflicts")
        self._current = None
        try:
            told = self.kube.run(
                "helm",
                *(command, NAME, str(self.chart), "--wait", "--timeout", timeout),
                *("--values", str(self.base / "base.yaml"), "--values", str(self.base / f"{self.runtime}.yaml")),
                *("--set", f"image.tag={self.tag}", *extra, *words),
                stdin=json.dumps(values) if values else None,
                timeout_s=900,
            )
        except KubeError:
            print(self.kube.told())
            raise
        self._current = (self.tag, values)
        return told

    def have(self, values: Mapping[str, Any] | None = None) -> None:
        """Upgrade to the tests' values with these on top, unless the release is as they make it."""
        if self._current != (self.tag, values):
            self.helm("upgrade", values=values)

    def remove(self) -> None:
        """Remove the release and the namespace."""
        self.kube.helm("uninstall", NAME, "--ignore-not-found", "--wait", "--timeout", "3m", check=False)
        self.kube.kubectl("delete", "namespace", self.kube.namespace, "--wait=false", check=False)
        self.kube.kubectl("delete", "persistentvolume", f"models-{self.kube.namespace}", "--wait=false", check=False)

    def _namespace(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        meta = {"name": self.kube.namespace, "labels": labels}
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        account = lambda: self.kube.get("serviceaccount", "default")  # noqa: E731
        wait("the namespace's service account", account, 30)

    def _models(self) -> None:
        """A volume with the model files of this machine's cache, which pods may read."""
        folder = self._model_files()
        spec = {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "storageClassName": "headrace-models"}
        volume = f"models-{self.kube.namespace}"
        self.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": {
                    **spec,
                    "capacity": {"storage": "5Gi"},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(folder)},
                    "claimRef": {"namespace": self.kube.namespace, "name": "headrace-models"},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "headrace-models"},
                "spec": {**spec, "volumeName": volume, "resources": {"requests": {"storage": "5Gi"}}},
            },
        )

    def _model_files(self) -> Path:
        """A copy of the cache whose files every user may read; fetched first where they are missing."""
        from headrace_inference.catalogue import pull
        from headrace_kit.config import ConfigStore, Environment

        config = CHART / "files" / "headrace.yaml"
        with step("model files"):
            pull(ConfigStore.from_file(config).current, Environment(cache_dir=CACHE))
        if not isinstance(self.source, Packages):
            return CACHE
        copy = self.source.places.home / "models"
        if not copy.exists() or _listed(copy) != _listed(CACHE):
            fresh = copy.with_name("models.new")
            shutil.rmtree(fresh, ignore_errors=True)
            # links between the cache's files stay links
            subprocess.run(["cp", "-a", "--reflink=auto", str(CACHE), str(fresh)], check=True)
            subprocess.run(["chmod", "-R", "a+rwX", str(fresh)], check=True)
            shutil.rmtree(copy, ignore_errors=True)
            fresh.rename(copy)
        return copy

    # -- use ----------------------------------------------------------------------------------------------------------
    def pod(self, name: str) -> None:
        """A pod that tests run commands in, under the restricted standard."""
        if self.kube.kubectl("get", "pod", name, "--ignore-not-found", "--output", "name"):
            return
        container = {
            "name": "main",
            "image": f"localhost/headrace/tools:{TAG}",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "infinity"],
            "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        spec = {
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
        }
        self.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        wait(f"pod {name}", lambda: ready(self.kube.get("pod", name)), 60)

    def inside(self, script: str, *words: str, timeout_s: float = 120) -> str:
        """Run one of `pods/` in the cluster; returns what it printed."""
        code = (PODS / script).read_text()
        command = ("exec", "--stdin", "bench", "--", "python", "-", *words)
        return self.kube.kubectl(*command, stdin=code, timeout_s=timeout_s)

    def secret(self, name: str, key: str) -> str:
        """A value of a Secret."""
        return base64.b64decode(self.kube.get("secret", name)["data"][key]).decode().strip()

    @property
    def admin_key(self) -> str:
        return self.secret(f"{NAME}-generated", "bootstrap-admin-key")

    @property
    def key(self) -> str:
        """A key of the tenant `dev`."""
        if self._key is None:
            with self.http(self.admin_key) as client:

                def made() -> str:
                    answer = client.post("/v1/admin/keys", json={"tenant": "dev", "name": "cluster"})
                    assert answer.status_code in (200, 201), answer.text
                    return str(answer.json()["key"])

                self._key = wait("a key", made, 60)
        return self._key

    @property
    def url(self) -> str:
        """The gateway, from inside."""
        return f"http://{NAME}-gateway:{HTTP}"

    @contextmanager
    def http(self, key: str | None = None) -> Any:
        """A client of the gateway through a port-forward."""
        with self.kube.forward(f"service/{NAME}-gateway", HTTP) as port:
            headers = {"authorization": f"Bearer {key or self.key}"}
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120, trust_env=False
            ) as client:
                yield client

    def ask(self, client: httpx.Client, text: str, model: str = "assistant", **extra: Any) -> dict[str, Any]:
        """A chat completion; fails unless it is one."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 24, **extra}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @contextmanager
    def load(self, rate: float, seconds: float, model: str = "scripted") -> Any:
        """Calls from inside while the block runs; the result is in the dict that it gives, afterwards."""
        result: dict[str, Any] = {}
        words = (self.url, self.key, str(rate), str(seconds), model)
        # It runs in the pod by itself: what becomes of kubectl and the API server does not touch it.
        start = ("exec", "--stdin", "bench", "--", "python", "-c", IN_BACKGROUND, *words)
        self.kube.kubectl(*start, stdin=(PODS / "load.py").read_text())
        time.sleep(2)
        try:
            yield result
        finally:
            time.sleep(2)
            self.kube.kubectl("exec", "bench", "--", "touch", "/tmp/stop", check=False)
        told = lambda: json.loads(self.kube.kubectl("exec", "bench", "--", "cat", "/tmp/load.json"))  # noqa: E731
        result.update(wait("the result of the load", told, seconds + 90))

    def values(self) -> Any:
        """The chart's own values."""
        return YAML(typ="safe").load((CHART / "values.yaml").read_text())
