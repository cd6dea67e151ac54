"""Releases from the Secrets in which Helm keeps them."""

from __future__ import annotations

import base64
import gzip
import json

from headrace.doctor.cluster import Cluster, Release


def latest(cluster: Cluster, name: str) -> Release | None:
    """The newest revision of a release, None where Helm knows none of that name in the namespace.

    Format: Helm's storage driver for Secrets: base64 of gzip of JSON under `data.release`, itself base64 as all data of
    Secrets (helm.sh/helm/v3/pkg/storage/driver/util.go).

    Raises:
        Refused: Secrets may not be listed.
    """
    import yaml  # type: ignore[import-untyped]

    found = cluster.objects("secrets", f"owner=helm,name={name}")
    if not found:
        return None
    newest = max(found, key=lambda secret: int(secret["metadata"]["labels"]["version"]))
    packed = base64.b64decode(base64.b64decode(newest["data"]["release"]))
    told = json.loads(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
    objects = tuple(one for one in yaml.safe_load_all(told.get("manifest") or "") if one)
    chart = told["chart"]["metadata"]
    return Release(name, told["info"]["status"], told["version"], f"{chart['name']} {chart['version']}", objects)
