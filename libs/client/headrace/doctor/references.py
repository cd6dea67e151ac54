"""Secrets and ConfigMaps that pods name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headrace.doctor.cluster import Object
from headrace.doctor.findings import Finding, ok, problem


class Reference(NamedTuple):
    """What a pod needs: an object, and a key of it (empty: any)."""

    kind: str
    name: str
    key: str


def references(pods: Sequence[Object], objects: Mapping[str, Sequence[Object]]) -> Iterator[Finding]:
    """Whatever pods name and the namespace lacks.

    Args:
        pods: their objects.
        objects: by kind (`Secret`, `ConfigMap`) those that are there; a kind that is absent is not looked at.
    """
    there = {kind: {one["metadata"]["name"]: one.get("data") or {} for one in found} for kind, found in objects.items()}
    asked = {reference: pod["metadata"]["name"] for pod in pods for reference in _of(pod["spec"])}
    lacking = 0
    for reference, pod in sorted(asked.items()):
        known = there.get(reference.kind)
        if known is None:
            continue
        data = known.get(reference.name)
        if data is None:
            lacking += 1
            told = f"{pod} needs the {reference.kind} {reference.name}, which is not there"
            yield problem("references", told, "make it, or name another one in the values")
        elif reference.key and reference.key not in data:
            lacking += 1
            told = f"{pod} needs the key {reference.key} of the {reference.kind} {reference.name}, which lacks it"
            yield problem("references", told, f"add the key; it has {', '.join(sorted(data)) or 'none'}")
    if asked and not lacking:
        yield ok("references", f"all {len(asked)} Secrets, ConfigMaps and keys that pods name are there")


def _of(spec: Mapping[str, Any]) -> Iterator[Reference]:
    for secret in spec.get("imagePullSecrets", ()):
        yield Reference("Secret", secret["name"], "")
    for volume in spec.get("volumes", ()):
        yield from _volume(volume)
        for source in volume.get("projected", {}).get("sources", ()):
            yield from _volume(source)
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        for source in container.get("envFrom", ()):
            yield from _named(source.get("secretRef"), "Secret")
            yield from _named(source.get("configMapRef"), "ConfigMap")
        for variable in container.get("env", ()):
            value = variable.get("valueFrom", {})
            for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                if (source := value.get(field)) and not source.get("optional"):
                    yield Reference(kind, source["name"], source["key"])


def _volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    for kind, field in (("Secret", "secret"), ("ConfigMap", "configMap")):
        source = volume.get(field)
        if not source or source.get("optional"):
            continue
        name = source.get("secretName") or source["name"]
        keys = [item["key"] for item in source.get("items", ())]
        yield from (Reference(kind, name, key) for key in keys or ("",))


def _named(source: Mapping[str, Any] | None, kind: str) -> Iterator[Reference]:
    if source and not source.get("optional"):
        yield Reference(kind, source["name"], "")
