"""Checks of pods, of what they mount, and of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.doctor.cluster import Object
from headrace.doctor.findings import Finding, ok, problem, warning

_GPU = "nvidia.com/gpu"
_WAITS: Mapping[str, str] = {
    "ImagePullBackOff": "check the tag or digest under `image`, and `image.pullSecrets` for a private registry",
    "ErrImagePull": "check the tag or digest under `image`, and `image.pullSecrets` for a private registry",
    "InvalidImageName": "check `image.registry`, `image.repository` and `image.tag`",
    "CrashLoopBackOff": "read the end of its log: kubectl logs {pod} -c {container} --previous",
    "CreateContainerConfigError": "a Secret or ConfigMap that it names is not there, or lacks a key",
    "CreateContainerError": "kubectl describe pod {pod}",
    "RunContainerError": "kubectl describe pod {pod}",
}


def pods(found: Sequence[Object]) -> Iterator[Finding]:
    """Each pod that does not serve, and why; restarts that say something."""
    whole = 0
    for pod in found:
        told = list(_pod(pod))
        whole += not told
        yield from told
    if whole:
        yield ok("pods", f"{whole} of {len(found)} pods are as they should be")


def _pod(pod: Object) -> Iterator[Finding]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("phase") == "Succeeded" or pod["metadata"].get("deletionTimestamp"):
        return
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield problem("pods", f"{name} has no node: {condition.get('message', '')}", _no_node(pod, condition))
            return
    states = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    blocked = False
    for container in states:
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if advice := _WAITS.get(reason):
            blocked = True
            told = f"{name}, {container['name']}: {reason}{': ' + waiting['message'] if waiting.get('message') else ''}"
            yield problem("pods", told, advice.format(pod=name, container=container["name"]))
        ended = container.get("lastState", {}).get("terminated", {})
        if ended.get("reason") == "OOMKilled":
            yield problem(
                "pods",
                f"{name}, {container['name']} was killed for memory, {container.get('restartCount', 0)} restarts",
                "raise its `resources.limits.memory`",
            )
        elif container.get("restartCount", 0) >= 3 and not blocked:
            told = f"{name}, {container['name']} was restarted {container['restartCount']} times"
            code = f", exit code {ended['exitCode']} last" if "exitCode" in ended else ""
            yield warning("pods", told + code, f"kubectl logs {name} -c {container['name']} --previous")
    ready = next((one for one in status.get("conditions", ()) if one["type"] == "Ready"), None)
    if not blocked and ready is not None and ready["status"] != "True":
        yield warning(
            "pods",
            f"{name} is not ready: {ready.get('message') or ready.get('reason') or 'no reason given'}",
            "its /readyz on the ops port says what it waits for; a model server may load for minutes",
        )


def _no_node(pod: Object, condition: Mapping[str, Any]) -> str:
    if gpus(pod):
        return (
            "no node has as many free GPUs: look at what nodes offer (`kubectl describe nodes`), at the device plugin, "
            "and at `nodeSelector` and `tolerations` of the model server"
        )
    if "persistentvolumeclaim" in str(condition.get("message", "")).lower():
        return "its volume claim is not bound: is there a default StorageClass?"
    return "lower its `resources.requests`, or add a node that fits"


def gpus(pod: Object) -> int:
    """GPUs that a pod asks for."""
    asked = (one.get("resources", {}).get("limits", {}).get(_GPU, 0) for one in pod["spec"].get("containers", ()))
    return sum(int(count) for count in asked)


def graphics(found: Sequence[Object], nodes: Sequence[Object]) -> Iterator[Finding]:
    """GPUs that the pods ask for, against those that the nodes offer."""
    asked = sum(gpus(pod) for pod in found)
    if not asked:
        return
    offered = sum(int(node.get("status", {}).get("allocatable", {}).get(_GPU, 0)) for node in nodes)
    if not offered:
        yield problem(
            "gpus",
            f"pods ask for {asked} GPUs and no node offers one",
            "add GPU nodes with NVIDIA's device plugin or GPU operator, or use an engine that runs on the CPU",
        )
    elif offered < asked:
        yield problem(
            "gpus", f"pods ask for {asked} GPUs, nodes offer {offered}", "add nodes, or ask for fewer replicas"
        )
    else:
        yield ok("gpus", f"pods ask for {asked} GPUs, nodes offer {offered}")


def jobs(found: Sequence[Object]) -> Iterator[Finding]:
    """Jobs that failed."""
    for job in found:
        failed = [one for one in job.get("status", {}).get("conditions", ()) if one["type"] == "Failed"]
        if failed and failed[0]["status"] == "True":
            name = job["metadata"]["name"]
            yield problem("jobs", f"{name} failed: {failed[0].get('message', '')}", f"kubectl logs job/{name}")


def claims(found: Sequence[Object]) -> Iterator[Finding]:
    """Volume claims that have no volume."""
    for claim in found:
        if (phase := claim.get("status", {}).get("phase")) != "Bound":
            name, wanted = claim["metadata"]["name"], claim["spec"].get("storageClassName") or "the default class"
            yield problem(
                "volumes", f"{name} is {phase}, of {wanted}", "is there such a StorageClass, and has it room?"
            )
