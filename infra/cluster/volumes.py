"""Storage: a folder on this machine for each claim of the class `standard`.

A volume is made when a claim waits for one, by `serve`, a loop that runs beside the cluster's other processes. Folders
are open to every user, since nothing in a cluster of packages changes their owner for a pod.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.cluster import processes
from infra.cluster.places import NODE, Places

CLASS = "standard"
PROVISIONER = "headrace.dev/folder"
NAME = "volumes"
_AGAIN_S = 0.5
_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
}


def make_class(places: Places) -> None:
    """Make the default class, and start what makes volumes for it."""
    _kubectl(places, "apply", "-f", "-", stdin=json.dumps(_CLASS))
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "infra.cluster", "volumes"]
    environment = {**os.environ, "CLUSTER_HOME": str(places.home), "PYTHONPATH": str(root)}
    processes.start(places.pids, places.logs, NAME, command, environment)


def serve(places: Places) -> None:
    """Make volumes for claims, and remove those whose claims are gone, until told to stop."""
    from kubernetes import client, config  # heavy: only here

    connected = config.new_client_from_config(str(places.kubeconfig))  # type: ignore[no-untyped-call]
    api = client.CoreV1Api(connected)
    changed = threading.Event()
    for listed in (api.list_persistent_volume_claim_for_all_namespaces, api.list_persistent_volume):
        threading.Thread(target=_watch, args=(listed, changed), daemon=True).start()
    while True:
        changed.wait()
        changed.clear()
        try:
            once(places)
        except (OSError, ValueError) as error:  # the API server is away: it comes again, or this process is stopped
            print(error, flush=True)
            time.sleep(_AGAIN_S)
            changed.set()


def _watch(listed: Callable[..., Any], changed: threading.Event) -> None:
    """Set an event whenever something of a kind changes, and whenever that has to be asked anew."""
    from kubernetes.client.exceptions import ApiException
    from kubernetes.watch import Watch
    from urllib3.exceptions import HTTPError

    while True:
        changed.set()
        try:
            for _ in Watch().stream(listed, timeout_seconds=300):  # type: ignore[no-untyped-call]
                changed.set()
        except (ApiException, HTTPError, OSError) as error:
            print(error, flush=True)
        time.sleep(_AGAIN_S)


def once(places: Places) -> None:
    """One round."""
    claims = _items(places, "pvc")
    volumes = {one["metadata"]["name"]: one for one in _items(places, "pv")}
    for claim in claims:
        name = name_of(claim)
        if (
            claim["spec"].get("storageClassName") == CLASS
            and not claim["spec"].get("volumeName")
            and name not in volumes
        ):
            folder = places.volumes / name
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
            _kubectl(places, "apply", "-f", "-", stdin=json.dumps(volume(claim, folder)))
    for name, found in volumes.items():
        released = found.get("status", {}).get("phase") == "Released"
        if released and found["metadata"].get("annotations", {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER:
            _kubectl(places, "delete", "pv", name, "--wait=false")
            shutil.rmtree(places.volumes / name, ignore_errors=True)


def name_of(claim: dict[str, Any]) -> str:
    """Name of the volume for a claim."""
    return f"pvc-{claim['metadata']['uid']}"


def volume(claim: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The volume for a claim."""
    meta, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name_of(claim), "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
                    ]
                }
            },
        },
    }


def _items(places: Places, kind: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(_kubectl(places, "get", kind, "-A", "-o", "json"))["items"]
    return listed


def _kubectl(places: Places, *words: str, stdin: str | None = None) -> str:
    environment = {**os.environ, "KUBECONFIG": str(places.kubeconfig)}
    command = [str(places.bin / "kubectl"), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise OSError(done.stderr.strip())
    return done.stdout
