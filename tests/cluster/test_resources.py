"""What the pods take: their memory when nothing is asked, and CPU and memory under load, beside what they request."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.cluster.kube import wait

RATE, SECONDS = 20, 25
MEMORY_MB = 4500
"""What the default install may take when idle."""
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True)
class Use:
    """What a pod has used: CPU seconds so far, bytes of memory, and when the kubelet looked.

    `memory` is what only it has; the working set has pages of files too, which are charged to whoever read them first
    and given back when others want memory.
    """

    cpu_s: float
    memory: int
    working_set: int
    at: datetime


def uses(kube):
    """By pod of the release: what the kubelets say."""
    found = {}
    for node in kube.get("nodes")["items"]:
        path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
        for pod in json.loads(kube.kubectl("get", "--raw", path))["pods"]:
            if pod["podRef"]["namespace"] == kube.namespace and "usageCoreNanoSeconds" in pod.get("cpu", {}):
                cpu, memory = pod["cpu"], pod["memory"]
                found[pod["podRef"]["name"]] = Use(
                    cpu["usageCoreNanoSeconds"] / 1e9,
                    memory["rssBytes"],
                    memory["workingSetBytes"],
                    datetime.fromisoformat(cpu["time"]),
                )
    return found


def asked_for(release):
    """By pod: its component, and the bytes of memory and the cores that the chart requests for it by default.

    The tests' own values request less, so that two versions of all of it have room on one small machine.
    """
    values, found = release.values(), {}
    for pod in release.kube.get("pods", "--selector", "app.kubernetes.io/component")["items"]:
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        kind = component.split("-")[0]
        if pod["status"]["phase"] == "Running" and kind in values:  # a job's is not
            asked = values[kind]["resources"]["requests"]
            memory = int(asked["memory"][:-2]) * UNITS[asked["memory"][-2:]]
            found[pod["metadata"]["name"]] = (component, memory, float(asked["cpu"].removesuffix("m")) / 1000)
    return found


def test_pods_take_what_they_request(process, measured):
    kube = process.kube
    asked = asked_for(process)
    wait("the kubelet's figures of all pods", lambda: asked.keys() <= uses(kube).keys(), 60)
    idle = sum(uses(kube)[name].working_set for name in asked)
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
