"""What scales pods: Kubernetes' metrics server for CPU; KEDA, with a Prometheus that scrapes the pods of headrace."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from infra.cluster import builds, recipes
from infra.cluster.addons.parts import MANIFESTS, apply, image, wait
from infra.cluster.places import Places

METRICS_SERVER_IMAGE = f"localhost/metrics-server:{recipes.METRICS_SERVER}"
KEDA_IMAGE, ADAPTER_IMAGE = f"localhost/keda:{recipes.KEDA}", f"localhost/keda-metrics-apiserver:{recipes.KEDA}"
PROMETHEUS_IMAGE = f"localhost/prometheus:{recipes.PROMETHEUS}"
PROMETHEUS = "http://prometheus.monitoring:9090"
"""Its address, from inside."""


def install_metrics_server(places: Places) -> None:
    """Install the metrics server: CPU and memory of pods, for HorizontalPodAutoscalers and `kubectl top`."""
    builds.ensure(places, "metrics-server")
    built = builds.current(places, "metrics-server")
    recipe = 'FROM scratch\nCOPY metrics-server /metrics-server\nENTRYPOINT ["/metrics-server"]\n'
    image(places, METRICS_SERVER_IMAGE, recipe, built / "metrics-server")
    # The kubelet's certificate is by an authority that the server does not know; 10 s is its shortest pause.
    more = ("--kubelet-insecure-tls", "--metric-resolution=10s", "--kubelet-request-timeout=5s")
    patch = [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": word} for word in more]
    with tempfile.TemporaryDirectory() as folder:
        images_of = {"gcr.io/k8s-staging-metrics-server/metrics-server": METRICS_SERVER_IMAGE}
        _kustomize(Path(folder), built / "manifests", ["base"], images_of, {"metrics-server": patch})
        apply(places, "--server-side", "-k", folder)
    wait(places, "kube-system", "deploy/metrics-server")
    wait(places, "kube-system", "apiservice/v1beta1.metrics.k8s.io", "Available")


def install_keda(places: Places) -> None:
    """Install KEDA and the Prometheus that its triggers ask."""
    builds.ensure(places, "keda", "prometheus")
    built, prometheus = builds.current(places, "keda"), builds.current(places, "prometheus")
    for reference, program, name in ((KEDA_IMAGE, "keda", "keda"), (ADAPTER_IMAGE, "keda-adapter", "keda-adapter")):
        recipe = f'FROM scratch\nCOPY {program} /{name}\nUSER 65532:65532\nENTRYPOINT ["/{name}"]\n'
        image(places, reference, recipe, built / program)
    recipe = 'FROM scratch\nCOPY prometheus /prometheus\nUSER 65532:65532\nENTRYPOINT ["/prometheus"]\n'
    image(places, PROMETHEUS_IMAGE, recipe, prometheus / "prometheus")
    manifest = (MANIFESTS / "prometheus.yaml").read_text().replace("__IMAGE__", PROMETHEUS_IMAGE)
    apply(places, "-f", "-", stdin=manifest)
    never_pull = {"op": "replace", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "IfNotPresent"}
    parts = ["crd", "general", "rbac", "manager", "metrics-server", "service_account"]
    with tempfile.TemporaryDirectory() as folder:
        references = {
            "ghcr.io/kedacore/keda": KEDA_IMAGE,
            "ghcr.io/kedacore/keda-metrics-apiserver": ADAPTER_IMAGE,
        }
        patches = {name: [never_pull] for name in ("keda-operator", "keda-metrics-apiserver")}
        _kustomize(Path(folder), built / "config", parts, references, patches)
        apply(places, "--server-side", "-k", folder)
    for name in ("keda-operator", "keda-metrics-apiserver"):
        wait(places, "keda", f"deploy/{name}")
    wait(places, "keda", "apiservice/v1beta1.external.metrics.k8s.io", "Available")
    wait(places, "monitoring", "deploy/prometheus")


def _kustomize(
    folder: Path, config: Path, parts: list[str], references: dict[str, str], patches: dict[str, list[dict[str, Any]]]
) -> None:
    """Write a kustomization of a project's own manifests, with images of this machine and patches by Deployment."""
    shutil.copytree(config, folder / "config")
    written = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"config/{part}" for part in parts],
        "images": [
            {"name": name, "newName": ours.rpartition(":")[0], "newTag": ours.rpartition(":")[2]}
            for name, ours in references.items()
        ],
        "patches": [
            {"target": {"kind": "Deployment", "name": name}, "patch": json.dumps(patch)}
            for name, patch in patches.items()
        ],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(written))
