"""What headrace works with on Kubernetes, built from packages and installed into the cluster."""

from __future__ import annotations

from infra.cluster.addons import autoscaling, envoy_gateway, kuberay
from infra.cluster.places import Places
from infra.cluster.progress import step

ADDONS = {
    "kuberay": kuberay.install,
    "gateway": envoy_gateway.install,
    "metrics": autoscaling.install_metrics_server,
    "keda": autoscaling.install_keda,
}
"""By name."""


def install(places: Places, name: str) -> None:
    """Build an add-on, install it, and return when it is ready. What is there already is left as it is."""
    with step(f"add-on {name}"):
        ADDONS[name](places)
