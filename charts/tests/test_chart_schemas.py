"""What is rendered, against the schemas of the Kubernetes versions that the chart is for; unknown keys fail."""

from __future__ import annotations

import copy
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from charts.tests import custom_resources

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


KEDA = {"enabled": True, "prometheus": "http://prometheus:9090"}
CUSTOM_ONES = {
    "routes": {
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["ai.example.com"]},
        "grpcRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
        "certificate": {"enabled": True, "dnsNames": ["ai.example.com"], "issuerRef": {"name": "le"}},
    },
    "monitoring": {"metrics": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}}},
    "keda": {
        "gateway": {"keda": {**KEDA, "inFlight": 200}},
        "tritons": {"default": {"keda": {**KEDA, "queueDepth": 8, "kvCachePercent": 80, "offered": 20, "spare": 1}}},
    },
    "ray": {"runtime": "ray", "ray": {"autoscaling": {"enabled": True}}},
    "ray per service": {"runtime": "ray", "ray": {"layout": "per-service"}},
}


@pytest.mark.parametrize("values", CUSTOM_ONES.values(), ids=CUSTOM_ONES)
def test_custom_resources_are_valid(render, values):
    found = [document for document in render(values).documents if document["apiVersion"].startswith(CUSTOM)]
    assert found
    for document in found:
        custom_resources.validate(document)


def test_a_key_that_a_custom_resource_does_not_have_is_found(render):
    [route] = render(CUSTOM_ONES["routes"]).all("HTTPRoute")
    wrong = copy.deepcopy(route)
    wrong["spec"]["rules"][0]["backendRefs"][0]["wieght"] = 3
    with pytest.raises(jsonschema.ValidationError, match="wieght"):
        custom_resources.validate(wrong)


def test_the_example_for_argo_is_valid():
    example = Path(__file__).parents[1] / "examples" / "argo-analysis.yaml"
    custom_resources.validate(yaml.safe_load(example.read_text()))
