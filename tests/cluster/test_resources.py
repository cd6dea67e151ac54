"""What the pods take: their memory when nothing is asked, and CPU and memory under load, beside what they request."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.cluster.kube import wait

RATE, SECONDS = 20, 40
MEMORY_MB = 4500
"""What the default install may take when idle."""
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True)
class Use:
    """What a pod has used: CPU seconds so far, bytes of its working set, and when the kubelet looked."""

    cpu_s: float
    memory: int
    at: datetime


def uses(kube):
    """By pod of the release: what the kubelets say."""
    found = {}
    for node in kube.get("nodes")["items"]:
        path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
        for pod in json.loads(kube.kubectl("get", "--raw", path))["pods"]:
            if pod["podRef"]["namespace"] == kube.namespace and "usageCoreNanoSeconds" in pod.get("cpu", {}):
                cpu, memory = pod["cpu"], pod["memory"]["workingSetBytes"]
                at = datetime.fromisoformat(cpu["time"])
                found[pod["podRef"]["name"]] = Use(cpu["usageCoreNanoSeconds"] / 1e9, memory, at)
    return found


def requests(kube):
    """By pod of a component: the component's name, and the bytes of memory and cores that it requests."""
    found = {}
    for pod in kube.get("pods", "--selector", "app.kubernetes.io/component")["items"]:
        if pod["status"]["phase"] == "Running":
            asked = [one["resources"]["requests"] for one in pod["spec"]["containers"]]
            memory = sum(int(one["memory"][:-2]) * UNITS[one["memory"][-2:]] for one in asked)
            cores = sum(float(one["cpu"].rstrip("m")) / (1000 if one["cpu"].endswith("m") else 1) for one in asked)
            name = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            found[pod["metadata"]["name"]] = (name, memory, cores)
    return found


def test_pods_take_what_they_request(process, measured):
    kube = process.kube
    asked = requests(kube)
    wait("the kubelet's figures of all pods", lambda: asked.keys() <= uses(kube).keys(), 60)
    idle = sum(uses(kube)[name].memory for name in asked)
    with process.load(rate=RATE, seconds=SECONDS + 60) as result:
        before = uses(kube)
        time.sleep(SECONDS)
        after = wait("later figures", lambda: newer(uses(kube), before, asked), 60)
    measured.append(f"memory of the default install, idle: {idle / 1e6:.0f} MB in {len(asked)} pods")
    for name, (component, memory, cores) in sorted(asked.items(), key=lambda one: one[1][0]):
        seconds = (after[name].at - before[name].at).total_seconds()
        used = (after[name].cpu_s - before[name].cpu_s) / seconds
        measured.append(
            f"{component} at {RATE} requests a second: {1000 * used:.0f}m of {1000 * cores:.0f}m CPU, "
            f"{after[name].memory / 2**20:.0f} of {memory / 2**20:.0f} MiB requested"
        )
    assert result["failed"] == 0, result
    assert idle / 1e6 <= MEMORY_MB
    more = {name: after[name].memory for name, (_, memory, _) in asked.items() if after[name].memory > memory}
    assert not more, f"pods whose memory is more than they request: {more}"


def newer(found, before, names):
    """The figures, once each pod's is from most of the time later."""
    least = timedelta(seconds=SECONDS * 0.75)
    return found if all(name in found and found[name].at >= before[name].at + least for name in names) else None
