"""Pods that die under load: Kubernetes replaces them, and almost nobody notices."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.cluster.kube import wait
from tests.cluster.release import HTTP
from tests.cluster.source import CHANGED
from tests.cluster.test_upgrade import ALL


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
    assert result["failed"] <= 1, json.dumps(result, indent=1)


def test_a_gateway_killed_hard_costs_at_most_what_it_was_answering(process, measured):
    """Without warning, as when a node dies: what was open on that pod fails, the rest does not."""
    victim = process.kube.pods("gateway")[0]["metadata"]["name"]
    with process.load(rate=20, seconds=120) as result:
        process.kube.kubectl("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
        wait("gateway whole again", lambda: _whole(process, "gateway", 2, victim), 120)
    measured.append(f"gateway pod killed hard under load: {result['failed']} of {result['calls']} failed")
    assert result["failed"] <= 5, result


@pytest.mark.parametrize("how", ["deleted", "drained"])
def test_an_open_stream_outlives_its_pod(process, how):
    """Who is being answered is answered to the end, by the pod that began; also when its node is drained."""
    script = json.dumps({"tokens": 80, "tokens_per_s": 10})
    body = {"model": "scripted", "messages": [{"role": "user", "content": script}], "max_tokens": 80, "stream": True}
    headers = {"authorization": f"Bearer {process.key}"}
    victim = process.kube.pods("gateway")[0]
    events = []
    with (
        process.kube.forward(f"pod/{victim['metadata']['name']}", HTTP) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120, trust_env=False) as client,
        _going(process.kube, victim, how) as begin,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        for line in answer.iter_lines():
            if line.startswith("data: "):
                if not events:
                    begin()
                events.append(line.removeprefix("data: "))
    assert events[-1] == "[DONE]"
    finishes = [choice["finish_reason"] for event in events[:-1] for choice in json.loads(event)["choices"]]
    assert finishes[-1] in ("stop", "length")
    wait("gateway whole again", lambda: process.kube.ready("gateway") == 2, 120)


def test_requests_go_on_while_the_api_server_is_away(process, measured):
    """Nothing on a request's path asks Kubernetes anything."""
    with process.load(rate=20, seconds=120) as result:
        with process.source.api_server_away(seconds=60):
            process.source.ahead((), ALL, tag=CHANGED)  # the minute is used: an upgrade comes next
        time.sleep(10)  # what its return brings counts too
    measured.append(f"API server away for 60 s under load: {result['failed']} of {result['calls']} failed")
    assert result["failed"] == 0, json.dumps(result, indent=1)
    assert result["calls"] >= 60 * 20 * 0.8, result
    wait("gateway whole again", lambda: process.kube.ready("gateway") == 2, 120)


@contextmanager
def _going(kube, pod, how):
    """Gives what begins a pod's end; a node that was drained is given back after the block."""
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    if how == "deleted":
        yield lambda: kube.kubectl("delete", "pod", name, "--wait=false")
        return
    chosen = f"--pod-selector=statefulset.kubernetes.io/pod-name={name}"
    with ThreadPoolExecutor(1) as pool:
        drains = []
        try:
            yield lambda: drains.append(
                pool.submit(kube.kubectl, "drain", node, chosen, "--delete-emptydir-data", "--timeout=100s")
            )
            assert "evicted" in drains[0].result(120) or "drained" in drains[0].result()
        finally:
            kube.kubectl("uncordon", node)


def _whole(release, component, count, victim):
    pods = release.kube.pods(component)
    gone = victim not in [pod["metadata"]["name"] for pod in pods] or component == "gateway"
    return gone and len(pods) == count and release.kube.ready(component) == count
