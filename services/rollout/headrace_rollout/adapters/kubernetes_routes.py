"""Routes of the Gateway API in this pod's namespace, and a candidate's pods.

Their lists of rules and backends are atomic for server-side apply: whoever applies a weight owns all rules. So weights
are set by a JSON patch (RFC 6902), which tests that each backend is still where it was seen and touches nothing else.
https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from headrace_kit.config.services import Pods
from headrace_kit.config.services import Routes as Settings
from headrace_kit.errors import NotReady
from headrace_rollout.adapters.kubernetes_api import MANAGER, in_cluster
from headrace_rollout.ports import Seen

GROUP, VERSION = "gateway.networking.k8s.io", "v1"
PLURALS = {"http": "httproutes", "grpc": "grpcroutes"}
WHOLE = 10_000
_CALL_S = 10.0
_PATCH = "application/json-patch+json"
_TRIES, _REFUSED = 5, 422
"""How often fields are given up where somebody else changes the route too, and what the API server says of that."""

_AWAY = (aiohttp.ClientError, TimeoutError, OSError)


class KubernetesRoutes:
    """See `Routes`.

    Args:
        api: client of the API server.
        namespace: that of the routes, Services and pods.
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api: Any = api
        self._namespace = namespace
        self._objects: Any = client.CustomObjectsApi(api)
        self._core: Any = client.CoreV1Api(api)

    @classmethod
    def in_cluster(cls) -> KubernetesRoutes:
        """Those of the pod that this process runs in. Call it on an event loop. Raises NotReady: this is no pod."""
        return cls(*in_cluster("services.rollout.routes or services.rollout.pods names a Service"))

    async def look(self, routes: Settings | Pods) -> Seen:
        """See `Routes`."""
        weights: set[int | None] = set()
        if isinstance(routes, Settings):
            for kind, name in named(routes).items():
                route = await self._route(kind, name)
                weights |= weights_of(route, routes, name)
                await self._disown(kind, name, route)
        with _told(f"Service {routes.canary} and its pods cannot be read"):
            async with asyncio.timeout(_CALL_S):
                service = await self._core.read_namespaced_service(routes.canary, self._namespace)
                labels = ",".join(f"{key}={value}" for key, value in sorted((service.spec.selector or {}).items()))
                pods = await self._core.list_namespaced_pod(self._namespace, label_selector=labels)
        ready, restarts, why = pods_of(self._api.sanitize_for_serialization(pods)["items"])
        return Seen(weights.pop() if len(weights) == 1 else None, ready, restarts, why)

    async def set_weight(self, routes: Settings | Pods, weight: int) -> None:
        """See `Routes`."""
        assert isinstance(routes, Settings), "pods alone have no weights"
        for kind, name in named(routes).items():
            patch = patch_of(await self._route(kind, name), routes, name, weight)
            with _told(f"{kind} route {name} cannot be changed"):
                async with asyncio.timeout(_CALL_S):
                    changed = await self._patch(kind, name, patch)
            await self._disown(kind, name, changed)

    async def close(self) -> None:
        """See `Routes`."""
        await self._api.close()

    async def _disown(self, kind: str, name: str, route: Mapping[str, Any]) -> None:
        """Give up the fields that our patches made ours: rules are one field for ownership, and whoever renders the
        route would have a conflict with us. The next look tries again."""
        for _ in range(_TRIES):
            if not (patch := disowning(route)):
                return
            try:
                with _told(f"fields of {kind} route {name} cannot be given up"):
                    async with asyncio.timeout(_CALL_S):
                        route = await self._patch(kind, name, patch)
            except NotReady as error:
                # Proxies write their status when weights change: entries may be at other places by now.
                if not isinstance(error.__cause__, ApiException) or error.__cause__.status != _REFUSED:
                    raise
                route = await self._route(kind, name)

    async def _route(self, kind: str, name: str) -> Mapping[str, Any]:
        with _told(f"{kind} route {name} cannot be read"):
            async with asyncio.timeout(_CALL_S):
                found: Mapping[str, Any] = await self._objects.get_namespaced_custom_object(**self._place(kind, name))
        return found

    async def _patch(self, kind: str, name: str, patch: list[dict[str, Any]]) -> Mapping[str, Any]:
        changed: Mapping[str, Any] = await self._objects.patch_namespaced_custom_object(
            **self._place(kind, name), body=patch, field_manager=MANAGER, _content_type=_PATCH
        )
        return changed

    def _place(self, kind: str, name: str) -> dict[str, str]:
        return {
            "group": GROUP,
            "version": VERSION,
            "namespace": self._namespace,
            "plural": PLURALS[kind],
            "name": name,
        }


def named(routes: Settings) -> dict[str, str]:
    """Names of the routes that there are, by kind."""
    return {kind: name for kind, name in (("http", routes.http), ("grpc", routes.grpc)) if name is not None}


def weights_of(route: Mapping[str, Any], routes: Settings, name: str) -> set[int | None]:
    """The candidate's shares in 1/10000, of each rule that shares out; None where neither gets anything."""
    shares: set[int | None] = set()
    for _, places in _shared(route, routes, name):
        stable, canary = (int(backend.get("weight", 1)) for _, backend in places)
        shares.add(round(canary * WHOLE / (stable + canary)) if stable + canary else None)
    return shares


def patch_of(route: Mapping[str, Any], routes: Settings, name: str, weight: int) -> list[dict[str, Any]]:
    """The JSON patch that gives the candidate so many 1/10000 by each rule that shares out."""
    patch: list[dict[str, Any]] = []
    for rule, places in _shared(route, routes, name):
        for (place, backend), given in zip(places, (WHOLE - weight, weight), strict=True):
            path = f"/spec/rules/{rule}/backendRefs/{place}"
            patch.append({"op": "test", "path": f"{path}/name", "value": backend["name"]})
            patch.append({"op": "add", "path": f"{path}/weight", "value": given})
    return patch


def disowning(route: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON patch by which we own no field of a route; empty where we own none."""
    managers = [entry.get("manager") for entry in route["metadata"].get("managedFields", ())]
    patch: list[dict[str, Any]] = []
    for place in reversed([place for place, manager in enumerate(managers) if manager == MANAGER]):
        path = f"/metadata/managedFields/{place}"
        patch.append({"op": "test", "path": f"{path}/manager", "value": MANAGER})
        patch.append({"op": "remove", "path": path})
    return patch


def _shared(
    route: Mapping[str, Any], routes: Settings, name: str
) -> list[tuple[int, list[tuple[int, Mapping[str, Any]]]]]:
    """Each rule that names both Services, with the places of the stable one and of the canary."""
    found = []
    for number, rule in enumerate(route.get("spec", {}).get("rules", ())):
        places = {
            backend["name"]: (place, backend)
            for place, backend in enumerate(rule.get("backendRefs", ()))
            if backend.get("kind", "Service") == "Service" and backend.get("group", "") == ""
        }
        if routes.stable in places and routes.canary in places:
            found.append((number, [places[routes.stable], places[routes.canary]]))
    if not found:
        raise NotReady(f"the route {name} has no rule that names both {routes.stable} and {routes.canary}")
    return found


def pods_of(pods: list[Mapping[str, Any]]) -> tuple[int, int, str]:
    """How many pods are ready, how often their containers were started again, and what is wrong with one."""
    ready, restarts, why = 0, 0, ""
    for pod in pods:
        status = pod.get("status", {})
        if "deletionTimestamp" in pod["metadata"]:
            continue
        ready += any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions", ())
        )
        for container in status.get("containerStatuses", ()):
            restarts += int(container.get("restartCount", 0))
            why = why or _trouble(container)
    return ready, restarts, why


def _trouble(container: Mapping[str, Any]) -> str:
    """Why a container does not run, or last ended."""
    waiting = container.get("state", {}).get("waiting", {})
    if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return f"{waiting['reason']} {waiting.get('message', '')}".strip()[:300]
    ended = container.get("lastState", {}).get("terminated", {})
    if ended:
        return f"{ended.get('reason', 'ended')}, exit code {ended.get('exitCode')}"
    return ""


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        hint = (
            "; the service account lacks the Role of the chart (gateway.canary, guardrails.canary)"
            if error.status == 403
            else ""
        )
        said = str(error.body or error.reason or "").strip()
        raise NotReady(f"{what}: {error.status} {said[:300]}{hint}") from error
    except _AWAY as error:
        raise NotReady(f"{what}: the API server cannot be reached: {error!r}") from error
