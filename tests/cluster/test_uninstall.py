"""Uninstalling leaves data and nothing else."""

from __future__ import annotations

from tests.cluster.kube import wait
from tests.cluster.release import NAME

KINDS = (
    "deployments,statefulsets,services,pods,jobs,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,"
    "poddisruptionbudgets,horizontalpodautoscalers"
)


def test_uninstall_leaves_only_volumes_and_secrets(process):
    told = process.kube.helm("uninstall", NAME, "--wait", "--timeout", "5m")
    assert "headrace" in told

    def left():
        names = process.kube.kubectl(
            "get", KINDS, "--output", "name", "-l", f"app.kubernetes.io/instance={NAME}"
        ).split()
        assert names == []
        return True

    wait("nothing left", left, 120)
    claims = {claim["metadata"]["name"] for claim in process.kube.get("pvc")["items"]}
    assert {"data-headrace-postgres-0", "data-headrace-valkey-0"} <= claims
