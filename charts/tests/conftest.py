"""Renders the chart with helm, as an installation would."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "headrace"
HELM = ROOT / ".tools" / "helm" / "helm"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

CRDS = (
    "gateway.networking.k8s.io/v1/HTTPRoute",
    "gateway.networking.k8s.io/v1/GRPCRoute",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "keda.sh/v1alpha1/ScaledObject",
    "cert-manager.io/v1/Certificate",
    "ray.io/v1/RayService",
)


class RenderFailed(AssertionError):
    """helm refused; the message is what it said."""


@dataclass(frozen=True)
class Rendered:
    """The documents of one rendering."""

    documents: list[dict[str, Any]]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Every document of a kind."""
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """A document by kind and name."""
        found = [document for document in self.all(kind) if document["metadata"]["name"] == name]
        assert len(found) == 1, f"{kind} {name}: {[d['metadata']['name'] for d in self.all(kind)]}"
        return found[0]

    def names(self, kind: str) -> list[str]:
        """Names of a kind's documents, in order."""
        return sorted(document["metadata"]["name"] for document in self.all(kind))

    def pods(self) -> dict[str, dict[str, Any]]:
        """Pod templates by `<kind>/<name>`, wherever pods are made from."""
        found = {}
        for document in self.documents:
            name = f"{document['kind']}/{document['metadata']['name']}"
            spec = document.get("spec", {})
            if document["kind"] == "Pod":
                found[name] = {"metadata": document["metadata"], "spec": spec}
            elif document["kind"] == "RayService":
                cluster = spec["rayClusterConfig"]
                found[f"{name}/head"] = cluster["headGroupSpec"]["template"]
                for group in cluster.get("workerGroupSpecs", ()):
                    found[f"{name}/{group['groupName']}"] = group["template"]
            elif isinstance(spec, dict) and "containers" in spec.get("template", {}).get("spec", {}):
                found[name] = spec["template"]
        return found


Render = Callable[..., Rendered]


def helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm with values from standard input."""
    given = ["-f", "-"] if values is not None else []
    return subprocess.run(
        [str(HELM), *arguments, *given], input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def render() -> Render:
    """Renders the chart: `render({values}, *helm's arguments, crds=...)`.

    Raises:
        RenderFailed: helm refused.
    """
    if not HELM.exists():
        pytest.fail("helm is missing: run infra/local/bootstrap.sh helm")

    known: dict[str, Rendered] = {}

    def rendered(
        values: dict[str, Any] | None = None,
        *arguments: str,
        release: str = "headrace",
        crds: Iterable[str] = CRDS,
        upgrade: bool = False,
    ) -> Rendered:
        asked = json.dumps([values, arguments, release, list(crds), upgrade])
        if asked in known:
            return known[asked]
        apis = [word for crd in crds for word in ("--api-versions", crd, "--api-versions", crd.rsplit("/", 1)[0])]
        flags = ["--is-upgrade"] if upgrade else []
        done = helm(
            "template", release, str(CHART), "--namespace", "platform", *apis, *flags, *arguments, values=values or {}
        )
        if done.returncode != 0:
            raise RenderFailed(done.stderr)
        known[asked] = Rendered([document for document in yaml.load_all(done.stdout, LOADER) if document])
        return known[asked]

    return rendered
