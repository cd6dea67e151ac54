"""`ModelRollouts` of this pod's namespace, over Kubernetes' API."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException, load_incluster_config
from kubernetes.aio.leaderelection.electionconfig import Config as ElectionConfig
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.aio.watch import Watch

from headrace_kit.errors import Conflict, NotReady
from headrace_rollout.resources.resource import API_VERSION, GROUP, KIND, PLURAL, VERSION, Resource

_log = logging.getLogger(__name__)
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
MANAGER = "headrace-rollout"
LEASE_S, RENEW_S, RETRY_S = 15, 10, 2
_CALL_S = 10.0
_WATCH_S = 240
_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
# Parts of the library that have no types.
_load: Any = load_incluster_config
_watch: Any = Watch
_AWAY = (aiohttp.ClientError, TimeoutError, OSError)


def in_cluster(why: str) -> tuple[client.ApiClient, str]:
    """A client by the account of the pod that this process runs in, and the pod's namespace. Call it on an event loop.

    Raises:
        NotReady: this is no pod, or its service account's token is not mounted; it is told beside `why` one is needed.
    """
    configuration = client.Configuration()
    try:
        _load(client_configuration=configuration)
        namespace = NAMESPACE_FILE.read_text().strip()
    except (ConfigException, OSError) as error:
        raise NotReady(f"{why}, but this is no pod with a service account: {error}") from error
    return client.ApiClient(configuration), namespace


class KubernetesModelRollouts:
    """See `ModelRollouts`.

    Args:
        api: client of the API server.
        namespace: that of the resources.
        lease: name of the `Lease` that replicas share.
        identity: of this replica; the pod's name.
    """

    def __init__(self, api: client.ApiClient, namespace: str, lease: str, identity: str) -> None:
        self._api: Any = api  # the library's types are those of its own generated models, not of JSON
        self._namespace = namespace
        self._lease = lease
        self._identity = identity
        self._objects: Any = client.CustomObjectsApi(api)
        self._events: Any = client.CoreV1Api(api)

    @classmethod
    def in_cluster(cls, lease: str) -> KubernetesModelRollouts:
        """Those of the pod that this process runs in. Call it on an event loop.

        Raises:
            NotReady: this is no pod, or its service account's token is not mounted.
        """
        api, namespace = in_cluster("services.rollout.model_rollouts is on")
        return cls(api, namespace, lease, os.uname().nodename)

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """See `ModelRollouts`."""
        lock = LeaseLock(self._lease, self._namespace, self._identity, self._api)
        # Its own `run` leaves the work going when it is cancelled, so its two halves are called instead.
        elected = LeaderElection(ElectionConfig(lock, LEASE_S, RENEW_S, RETRY_S, _nothing, _nothing))
        with _told("the lease cannot be had"):
            await elected.acquire()
        tasks = [asyncio.ensure_future(work()), asyncio.ensure_future(elected.renew_loop())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        with _told("the lease is lost"):
            for end in ends:
                if isinstance(end, Exception):
                    raise end

    async def watch(self) -> AsyncIterator[Sequence[Resource]]:
        """See `ModelRollouts`."""
        place = {"group": GROUP, "version": VERSION, "namespace": self._namespace, "plural": PLURAL}
        while True:
            with _told("resources cannot be read"):
                async with asyncio.timeout(_CALL_S):
                    found = await self._objects.list_namespaced_custom_object(**place)
            seen = {tree["metadata"]["uid"]: Resource.read(tree) for tree in found["items"]}
            yield list(seen.values())
            events = _watch(return_type="object")
            since = found["metadata"]["resourceVersion"]
            try:
                stream = events.stream(
                    self._objects.list_namespaced_custom_object,
                    **place,
                    resource_version=since,
                    timeout_seconds=_WATCH_S,
                    _request_timeout=_WATCH_S + _CALL_S,
                )
                async for event in _told_each(stream):
                    tree = event["raw_object"]
                    if event["type"] == "DELETED":
                        seen.pop(tree["metadata"]["uid"], None)
                    else:
                        seen[tree["metadata"]["uid"]] = Resource.read(tree)
                    yield list(seen.values())
            except ApiException as error:
                if error.status != 410:  # the place is too old: begin again
                    raise NotReady(_what("resources cannot be watched", error)) from error
            finally:
                await events.close()

    async def patch(
        self,
        resource: Resource,
        *,
        finalizers: Sequence[str] | None = None,
        without_annotations: Sequence[str] = (),
    ) -> None:
        """See `ModelRollouts`."""
        metadata: dict[str, Any] = {"resourceVersion": resource.resource_version}
        if finalizers is not None:
            metadata["finalizers"] = list(finalizers)
        if without_annotations:
            metadata["annotations"] = dict.fromkeys(without_annotations)
        with _told(f"{resource.name} cannot be changed", missing=True):
            async with asyncio.timeout(_CALL_S):
                await self._objects.patch_namespaced_custom_object(
                    **self._place(resource),
                    body={"metadata": metadata},
                    field_manager=MANAGER,
                    _content_type=_MERGE,
                )

    async def apply_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """See `ModelRollouts`."""
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": resource.name, "namespace": resource.namespace, "uid": resource.uid},
            "status": dict(status),
        }
        with _told(f"status of {resource.name} cannot be written", missing=True):
            async with asyncio.timeout(_CALL_S):
                await self._objects.patch_namespaced_custom_object_status(
                    **self._place(resource), body=body, field_manager=MANAGER, force=True, _content_type=_APPLY
                )

    async def event(self, resource: Resource, reason: str, message: str, *, warning: bool) -> None:
        """See `ModelRollouts`."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # Told twice, after a crash between this and what follows, it has the same name and is refused.
        place = "|".join([resource.uid, resource.resource_version, reason, message])
        reference = {"apiVersion": API_VERSION, "kind": KIND, "name": resource.name, "namespace": resource.namespace}
        body = {
            "metadata": {"name": f"{resource.name[:200]}.{hashlib.sha256(place.encode()).hexdigest()[:16]}"},
            "involvedObject": {**reference, "uid": resource.uid, "resourceVersion": resource.resource_version},
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": self._identity,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            async with asyncio.timeout(_CALL_S):
                await self._events.create_namespaced_event(resource.namespace, body)
        except ApiException as error:
            if error.status != 409:
                _log.warning("%s", _what("an event cannot be told", error))
        except _AWAY as error:
            _log.warning("an event cannot be told: %s", error)

    async def close(self) -> None:
        """See `ModelRollouts`."""
        await self._api.close()

    def _place(self, resource: Resource) -> dict[str, Any]:
        return {
            "group": GROUP,
            "version": VERSION,
            "namespace": resource.namespace,
            "plural": PLURAL,
            "name": resource.name,
        }


async def _nothing() -> None:
    """What the election is to do by itself."""


@contextlib.contextmanager
def _told(what: str, *, missing: bool = False) -> Iterator[None]:
    """Turns errors of the API into ours; with `missing` an object that is gone is none."""
    try:
        yield
    except ApiException as error:
        if missing and error.status == 404:
            return
        if error.status == 409:
            raise Conflict(_what(what, error)) from error
        raise NotReady(_what(what, error)) from error
    except _AWAY as error:
        raise NotReady(f"{what}: the API server cannot be reached: {error!r}") from error


async def _told_each(stream: Any) -> AsyncIterator[Any]:
    try:
        async for event in stream:
            yield event
    except _AWAY as error:
        raise NotReady(f"resources cannot be watched: {error!r}") from error


def _what(what: str, error: ApiException) -> str:
    said = str(error.body or error.reason or "").strip()
    hint = ""
    if error.status == 404:
        hint = "; is the CustomResourceDefinition modelrollouts.headrace.dev installed?"
    elif error.status == 403:
        hint = "; the service account lacks the Role of the chart (modelRollouts.enabled)"
    return f"{what}: {error.status} {said[:300]}{hint}"
