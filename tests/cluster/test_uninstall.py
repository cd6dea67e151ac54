"""Uninstalling leaves data and nothing else."""

from __future__ import annotations

from tests.cluster.kube import wait
from tests.cluster.release import NAME
from tests.cluster.test_modelrollouts import resource

KINDS = (
    "deployments,statefulsets,services,pods,jobs,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,"
    "poddisruptionbudgets,horizontalpodautoscalers,leases"
)


def test_uninstall_leaves_only_volumes_and_secrets(process):
    process.kube.apply(resource("left-behind", [{"weight": "50%", "at_least": "1h"}, {"weight": "100%"}]))
    held = lambda: process.kube.get("modelrollout", "left-behind")["metadata"].get("finalizers")  # noqa: E731
    wait("the finalizer", held, 60)
    told = process.kube.helm("uninstall", NAME, "--wait", "--timeout", "5m")
    assert "headrace" in told
    assert "modelrollouts.headrace.dev" in told, "what is kept is named"

    def left():
        names = process.kube.kubectl(
            "get", KINDS, "--output", "name", "-l", f"app.kubernetes.io/instance={NAME}"
        ).split()
        assert names == []
        return True

    wait("nothing left", left, 120)
    # Nobody is left who would let it go, so it waits for nobody.
    process.kube.kubectl("delete", "modelrollout", "left-behind", "--timeout=30s")
    claims = {claim["metadata"]["name"] for claim in process.kube.get("pvc")["items"]}
    assert {"data-headrace-postgres-0", "data-headrace-valkey-0"} <= claims
