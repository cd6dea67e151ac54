"""The namespace enforces the restricted pod security standard, and what runs in it keeps to more than that."""

from __future__ import annotations

import pytest

from tests.cluster.kube import KubeError


def test_the_standard_is_really_enforced(process):
    spec = {
        "containers": [
            {"name": "main", "image": "localhost/headrace/tools:test", "securityContext": {"privileged": True}}
        ]
    }
    with pytest.raises(KubeError, match="violates PodSecurity"):
        process.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": spec})


def test_every_container_is_confined(process):
    """Not root, nothing to gain, a root file system that cannot be written; said by the spec of each container."""
    loose = []
    for pod in process.kube.get("pods", "-l", "app.kubernetes.io/instance=headrace")["items"]:
        inherited = pod["spec"].get("securityContext", {})
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            own = {**inherited, **container.get("securityContext", {})}
            kept = (
                own.get("runAsNonRoot") is True
                and own.get("readOnlyRootFilesystem") is True
                and own.get("allowPrivilegeEscalation") is False
                and own.get("capabilities", {}).get("drop") == ["ALL"]
                and own.get("seccompProfile", {}).get("type") == "RuntimeDefault"
            )
            if not kept:
                loose.append((pod["metadata"]["name"], container["name"], own))
    assert loose == []


@pytest.mark.parametrize("component", ["gateway", "inference", "tracing"])
def test_a_container_really_is_not_root_and_cannot_write(process, component):
    pod = process.kube.pods(component)[0]["metadata"]["name"]
    code = "import os; print(os.getuid()); open('/etc/written', 'w')"
    told = process.kube.kubectl("exec", pod, "--", "python", "-c", code, check=False)
    assert told.startswith("10001\n"), told
    assert "Read-only file system" in told


def test_no_image_has_pip_or_a_compiler(process):
    pod = process.kube.pods("gateway")[0]["metadata"]["name"]
    code = "import shutil; print([p for p in ('pip', 'pip3', 'gcc', 'cc', 'apt', 'wget', 'curl') if shutil.which(p)])"
    assert process.kube.kubectl("exec", pod, "--", "python", "-c", code).strip() == "[]"
    assert "No module named pip" in process.kube.kubectl("exec", pod, "--", "python", "-m", "pip", check=False)
