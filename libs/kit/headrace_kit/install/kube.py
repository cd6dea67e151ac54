"""As much of a client of Kubernetes' API as keeping a Secret needs, from inside a pod, without a library's weight."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATIENCE_S = 120
_PAUSE_S = 2


class KubeError(RuntimeError):
    """The API server refused, or could not be reached; the message says what was asked and what it answered."""


class Kube:
    """The API server that this pod's service account may talk to.

    Args:
        url: for example `https://10.96.0.1:443`.
        namespace: that of the objects.
        account: folder with `token` and `ca.crt`; read at each call, as tokens are renewed.
        patience_s: how long an API server that cannot be reached is tried again, in seconds.
    """

    def __init__(self, url: str, namespace: str, account: Path = ACCOUNT, patience_s: float = _PATIENCE_S) -> None:
        self._url, self.namespace, self._account = url, namespace, account
        self._patience_s = patience_s

    @classmethod
    def in_cluster(cls) -> Kube:
        """That of the pod that this process runs in.

        Raises:
            KubeError: this is no pod, or it has no service account.
        """
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (ACCOUNT / "token").exists():
            raise KubeError("this is not a pod with a service account: run it in the cluster, as the chart's job does")
        name = f"[{host}]" if ":" in host else host
        return cls(f"https://{name}:{port}", (ACCOUNT / "namespace").read_text().strip())

    def secret(self, name: str) -> dict[str, bytes] | None:
        """The data of a Secret, None where there is none."""
        found = self._call("GET", f"/api/v1/namespaces/{self.namespace}/secrets/{name}", None, missing=404)
        if found is None:
            return None
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    def create_secret(self, name: str, data: Mapping[str, bytes], labels: Mapping[str, str]) -> bool:
        """Make a Secret. False where somebody else has made it since."""
        metadata = {"name": name, "labels": dict(labels)}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": _encoded(data)}
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        return self._call("POST", path, body, missing=409) is not None

    def add_to_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        """Set keys of a Secret; the others stay."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets/{name}"
        self._call("PATCH", path, {"data": _encoded(data)}, kind="application/merge-patch+json")

    def let_go(self, group: str, version: str, plural: str, finalizer: str) -> list[str]:
        """Take a finalizer off all objects of a kind in the namespace. Returns their names; none without the kind."""
        place = f"/apis/{group}/{version}/namespaces/{self.namespace}/{plural}"
        found = self._call("GET", place, None, missing=404) or {}
        done = []
        for one in found.get("items", ()):
            metadata = one["metadata"]
            left = [name for name in metadata.get("finalizers") or () if name != finalizer]
            if len(left) < len(metadata.get("finalizers") or ()):
                body = {"metadata": {"finalizers": left, "resourceVersion": metadata["resourceVersion"]}}
                self._call(
                    "PATCH", f"{place}/{metadata['name']}", body, kind="application/merge-patch+json", missing=404
                )
                done.append(metadata["name"])
        return done

    def _call(
        self, method: str, path: str, body: Any, *, missing: int = 0, kind: str = "application/json"
    ) -> dict[str, Any] | None:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._once(method, path, body, kind)
            except urllib.error.HTTPError as error:
                with error:  # it holds the connection
                    if error.code == missing:
                        return None
                    if error.code < 500 and error.code != 429:
                        raise KubeError(f"{method} {path}: {_told(error)}") from error
                problem: Exception = error
            except OSError as error:
                problem = error
            if time.monotonic() > deadline:
                raise KubeError(f"{method} {path}: {problem}") from problem
            time.sleep(_PAUSE_S)

    def _once(self, method: str, path: str, body: Any, kind: str) -> dict[str, Any]:
        token = (self._account / "token").read_text().strip()
        request = urllib.request.Request(  # noqa: S310, the scheme is the caller's
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/json"},
            method=method,
        )
        trust = ssl.create_default_context(cafile=str(self._account / "ca.crt")) if self._url[:5] == "https" else None
        handlers = [urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=trust)] if trust else [])]
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def _told(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error).get("message", error))
    except ValueError:
        return str(error)
