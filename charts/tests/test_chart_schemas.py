"""What is rendered, against the schemas of the Kubernetes versions that the chart is for; unknown keys fail."""

from __future__ import annotations

import kubernetes_validate
import pytest

CUSTOM = ("ray.io", "keda.sh", "gateway.networking.k8s.io", "monitoring.coreos.com", "cert-manager.io")
EVERYTHING = {
    "ingress": {"enabled": True, "host": "ai.example.com", "className": "nginx", "tlsSecret": "tls"},
    "guardrails": {"autoscaling": {"enabled": True}},
    "metrics": {"dashboards": {"enabled": True}, "scrapeAnnotations": True},
    "secrets": {"extra": ["providers"]},
    "image": {"pullSecrets": ["pull"], "pullPolicy": "Always"},
    "configFiles": {"routers/a.router": "AAAA"},
    "tritons": {"gpu": {"deployments": ["scripted"], "resources": {"limits": {"nvidia.com/gpu": 1}}}},
}


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_it_is_valid(render, version, values):
    for document in render(values).documents:
        if not document["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_the_pods_in_ray_clusters_are_valid(render, version):
    for name, pod in render({"runtime": "ray"}).pods().items():
        whole = {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {"name": "x", **pod["metadata"]}}
        if name.startswith("RayService"):
            kubernetes_validate.validate(whole, version, strict=True)
