"""Pods that die under load: Kubernetes replaces them, and almost nobody notices."""

from __future__ import annotations

import pytest

from tests.cluster.kube import wait


@pytest.mark.parametrize("component", ["gateway", "guardrails", "inference"])
def test_a_killed_pod_costs_at_most_one_request(process, measured, component):
    """One of two pods is deleted as it is when a node drains: told to stop, replaced, gone."""
    if component != "gateway":
        process.kube.kubectl("scale", f"deployment/headrace-{component}", "--replicas=2")
    wait(f"two of {component}", lambda: process.kube.ready(component) == 2, 120)
    before = 2
    victim = process.kube.pods(component)[0]["metadata"]["name"]
    with process.load(rate=20, seconds=120) as result:
        process.kube.kubectl("delete", "pod", victim, "--wait=false")
        wait(f"{component} whole again", lambda: _whole(process, component, before, victim), 120)
    measured.append(f"{component} pod deleted under load: {result['failed']} of {result['calls']} failed")
    assert result["failed"] <= 1, result


def test_a_gateway_killed_hard_costs_at_most_what_it_was_answering(process, measured):
    """Without warning, as when a node dies: what was open on that pod fails, the rest does not."""
    victim = process.kube.pods("gateway")[0]["metadata"]["name"]
    with process.load(rate=20, seconds=120) as result:
        process.kube.kubectl("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
        wait("gateway whole again", lambda: _whole(process, "gateway", 2, victim), 120)
    measured.append(f"gateway pod killed hard under load: {result['failed']} of {result['calls']} failed")
    assert result["failed"] <= 5, result


def _whole(release, component, count, victim):
    pods = release.kube.pods(component)
    gone = victim not in [pod["metadata"]["name"] for pod in pods] or component == "gateway"
    return gone and len(pods) == count and release.kube.ready(component) == count
