"""Checks of an installation in a cluster, in the order in which one thing needs the other."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from datetime import UTC, datetime

from headrace.doctor import helm, references
from headrace.doctor.clock import skew
from headrace.doctor.cluster import Cluster, Object, Refused, Release
from headrace.doctor.findings import Finding, ok, problem, unknown, warning
from headrace.doctor.pods import claims, graphics, jobs, pods

OLDEST, NEWEST = (1, 29), (1, 37)
"""Versions of Kubernetes whose schemas the chart is checked against."""

_OPERATORS = {
    "ray.io": "the KubeRay operator",
    "keda.sh": "KEDA",
    "monitoring.coreos.com": "the Prometheus operator",
    "gateway.networking.k8s.io": "the Gateway API's resources",
    "cert-manager.io": "cert-manager",
    "argoproj.io": "Argo Rollouts",
}


def installation(cluster: Cluster, name: str, version: str) -> Iterator[Finding]:
    """All checks of a release.

    Args:
        cluster: with the namespace of the release.
        name: of the release.
        version: of the program that looks.
    """
    try:
        yield from _server(cluster)
    except Refused as error:
        yield problem("api", str(error), "check the kubeconfig and its context: `kubectl version` says the same")
        return
    try:
        release = helm.latest(cluster, name)
    except Refused as error:
        yield unknown("release", f"Helm's record cannot be read: {error}", "ask for the right to list Secrets")
        release = None
    else:
        yield from _release(cluster, release, name)
        if release is None:
            return
        yield from _apis(cluster, release)
    found = yield from _pods(cluster, name)
    yield from _named(cluster, found)
    yield from _versions(found, version)


def _server(cluster: Cluster) -> Iterator[Finding]:
    told = cluster.version()
    numbers = re.match(r"v?(\d+)\.(\d+)", told)
    known = numbers is not None and OLDEST <= (int(numbers[1]), int(numbers[2])) <= NEWEST
    if known:
        yield ok("api", f"Kubernetes {told}")
    else:
        span = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        yield warning("api", f"Kubernetes {told}; the chart is checked against {span}", "look before you trust it")
    yield from skew("clock", "the API server", cluster.date(), datetime.now(UTC))


def _release(cluster: Cluster, release: Release | None, name: str) -> Iterator[Finding]:
    if release is None:
        yield problem(
            "release",
            f"Helm knows no release {name!r} in the namespace {cluster.namespace}",
            "name them: headrace doctor --namespace NAMESPACE --release NAME; `helm list -A` shows all",
        )
    elif release.status == "deployed":
        yield ok("release", f"{release.chart}, revision {release.revision}, deployed")
    elif release.status.startswith("pending"):
        yield problem(
            "release",
            f"revision {release.revision} is {release.status}: Helm was interrupted, or is at work",
            f"if nobody is at work: helm rollback {name} -n {cluster.namespace}",
        )
    else:
        yield problem(
            "release",
            f"revision {release.revision} is {release.status}",
            f"what came before serves on if pods are ready; mend the values and upgrade, or helm rollback {name}",
        )


def _apis(cluster: Cluster, release: Release) -> Iterator[Finding]:
    """Whether the cluster still serves each kind that the release is made of."""
    lacking = 0
    kinds: dict[str, frozenset[str]] = {}
    for api, kind in release.kinds():
        if api not in kinds:
            kinds[api] = cluster.kinds(api)
        if kind not in kinds[api]:
            lacking += 1
            group = api.partition("/")[0]
            owner = _OPERATORS.get(group)
            advice = f"install {owner}, or turn off what uses it" if owner else "install what serves it"
            yield problem("apis", f"the release has a {kind} ({api}), which this cluster does not know", advice)
    if not lacking:
        yield ok("apis", f"the cluster knows all {len(list(release.kinds()))} kinds of the release")


def _pods(cluster: Cluster, name: str) -> Generator[Finding, None, list[Object]]:
    selector = f"app.kubernetes.io/instance={name}"
    try:
        found = cluster.objects("pods", selector)
    except Refused as error:
        yield unknown("pods", str(error), "ask for the right to list pods")
        return []
    if not found:
        yield problem("pods", f"there is no pod of {name} in {cluster.namespace}", "kubectl get events -n NAMESPACE")
        return []
    yield from pods(found)
    for resource, look in (("batch/v1/jobs", jobs), ("persistentvolumeclaims", claims)):
        try:
            yield from look(cluster.objects(resource, selector))
        except Refused as error:
            yield unknown(resource.rpartition("/")[2], str(error))
    try:
        nodes = cluster.objects("nodes", everywhere=True)
    except Refused as error:
        yield unknown("gpus", str(error))
    else:
        yield from graphics(found, nodes)
    return found


def _named(cluster: Cluster, found: Iterable[Object]) -> Iterator[Finding]:
    there: dict[str, list[Object]] = {}
    for kind, resource in (("Secret", "secrets"), ("ConfigMap", "configmaps")):
        try:
            there[kind] = cluster.objects(resource)
        except Refused as error:
            yield unknown("references", str(error), f"ask for the right to list {resource}")
    yield from references.references(list(found), there)


def _versions(found: Iterable[Object], version: str) -> Iterator[Finding]:
    """Images of headrace of one version, that of this program."""
    tags: dict[str, set[str]] = {}
    for pod in found:
        for container in pod["spec"].get("containers", ()):
            if container["name"] in _SERVICES:
                tags.setdefault(_tag(container["image"]), set()).add(container["name"])
    if len(tags) > 1:
        told = "; ".join(f"{tag}: {', '.join(sorted(names))}" for tag, names in sorted(tags.items()))
        yield warning(
            "versions", f"services of several versions run: {told}", "in an upgrade this passes; else see `image`"
        )
    elif tags and version not in tags:
        yield warning("versions", f"the services are {next(iter(tags))}, this program is {version}", "use equal ones")
    elif tags:
        yield ok("versions", f"services and this program are {version}")


_SERVICES = frozenset({"gateway", "inference", "retrieval", "guardrails", "tracing", "rollout"})


def _tag(image: str) -> str:
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or digest or "latest"
