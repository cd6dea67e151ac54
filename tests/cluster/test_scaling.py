"""More pods of a service, and fewer again."""

from __future__ import annotations

from tests.cluster.kube import wait


def test_a_service_grows_and_shrinks_under_load(process, measured):
    with process.load(rate=10, seconds=150) as result:
        process.kube.kubectl("scale", "deployment/headrace-guardrails", "--replicas=3")
        wait("three guardrails", lambda: process.kube.ready("guardrails") == 3, 90)
        process.kube.kubectl("scale", "deployment/headrace-guardrails", "--replicas=1")
        wait("one guardrails", lambda: len(process.kube.pods("guardrails")) == 1, 90)
    measured.append(f"guardrails 1 -> 3 -> 1 under load: {result['failed']} of {result['calls']} failed")
    assert result["failed"] == 0, result
