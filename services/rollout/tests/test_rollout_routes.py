"""Routes of the Gateway API: what is read from them, and the patch that changes weights alone."""

from __future__ import annotations

import copy

import pytest
from kubernetes.aio.client.exceptions import ApiException

from headrace_kit.config.services import Routes
from headrace_kit.errors import NotReady
from headrace_rollout.adapters.kubernetes_api import MANAGER
from headrace_rollout.adapters.kubernetes_routes import (
    KubernetesRoutes,
    disowning,
    named,
    patch_of,
    pods_of,
    weights_of,
)

ROUTES = Routes(http="front", stable="gw", canary="gw-canary")


def route(*weights: tuple[int | None, int | None]) -> dict:
    rules = []
    for stable, canary in weights:
        refs = [{"name": "gw", "port": 7800}, {"group": "", "kind": "Service", "name": "gw-canary", "port": 7800}]
        for ref, weight in zip(refs, (stable, canary), strict=True):
            if weight is not None:
                ref["weight"] = weight
        rules.append({"matches": [{"path": {"value": "/"}}], "backendRefs": refs, "timeouts": {"request": "0s"}})
    return {"spec": {"rules": rules}}


def applied(tree: dict, patch: list[dict]) -> dict:
    """RFC 6902, as far as it is used."""
    made = copy.deepcopy(tree)
    for step in patch:
        *path, last = [int(part) if part.isdigit() else part for part in step["path"].split("/")[1:]]
        place = made
        for part in path:
            place = place[part]
        if step["op"] == "test":
            assert place[last] == step["value"]
        elif step["op"] == "remove":
            del place[last]
        else:
            assert step["op"] == "add"
            place[last] = step["value"]
    return made


@pytest.mark.parametrize(
    ("weights", "share"),
    [(((100, 0),), {0}), (((None, None),), {5000}), (((80, 20), (4, 1)), {2000}), (((80, 20), (100, 0)), {2000, 0})],
)
def test_shares_are_read_as_proxies_do(weights, share):
    assert weights_of(route(*weights), ROUTES, "front") == share


def test_a_rule_that_gives_nobody_anything_has_no_share():
    assert weights_of(route((0, 0)), ROUTES, "front") == {None}


def test_a_patch_sets_weights_and_touches_nothing_else():
    before = route((100, 0), (None, None))
    before["spec"]["rules"].insert(1, {"backendRefs": [{"name": "other", "port": 80}]})
    after = applied(before, patch_of(before, ROUTES, "front", 500))
    assert weights_of(after, ROUTES, "front") == {500}
    for rule in after["spec"]["rules"]:
        for ref in rule["backendRefs"]:
            ref.pop("weight", None)
    for rule in before["spec"]["rules"]:
        for ref in rule["backendRefs"]:
            ref.pop("weight", None)
    assert after == before


def test_a_patch_is_refused_where_backends_have_changed_places():
    before = route((100, 0))
    patch = patch_of(before, ROUTES, "front", 500)
    before["spec"]["rules"][0]["backendRefs"].reverse()
    with pytest.raises(AssertionError):
        applied(before, patch)


def test_a_route_without_both_services_says_so():
    with pytest.raises(NotReady, match="the route front has no rule that names both gw and gw-canary"):
        weights_of({"spec": {"rules": [{"backendRefs": [{"name": "gw"}]}]}}, ROUTES, "front")


def test_both_kinds_are_asked_where_both_are_named():
    assert named(Routes(http="a", grpc="b", stable="s", canary="c")) == {"http": "a", "grpc": "b"}
    with pytest.raises(ValueError, match="at least one route"):
        Routes(stable="s", canary="c")


def test_pods_tell_who_is_ready_how_often_they_died_and_why():
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"restartCount": 0}]}
    dead = {
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {
                "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 1}},
            }
        ],
    }
    going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": ready}
    pods = [{"metadata": {}, "status": ready}, {"metadata": {}, "status": dead}, going, {"metadata": {}}]
    assert pods_of(pods) == (1, 3, "CrashLoopBackOff back-off 40s")


def test_a_container_that_is_only_being_made_is_no_trouble():
    new = {"containerStatuses": [{"restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}]}
    killed = {
        "containerStatuses": [
            {"restartCount": 1, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
        ]
    }
    assert pods_of([{"metadata": {}, "status": new}]) == (0, 0, "")
    assert pods_of([{"metadata": {}, "status": killed}]) == (0, 1, "OOMKilled, exit code 137")


def test_after_a_change_the_routes_fields_are_owned_by_whoever_renders_them():
    ours, helm = {"manager": "headrace-rollout", "operation": "Update"}, {"manager": "helm", "operation": "Apply"}
    path = "/metadata/managedFields"
    assert disowning({"metadata": {"managedFields": [helm, ours]}}) == [
        {"op": "test", "path": f"{path}/1/manager", "value": "headrace-rollout"},
        {"op": "remove", "path": f"{path}/1"},
    ]
    assert [
        step["path"] for step in disowning({"metadata": {"managedFields": [ours, ours]}}) if step["op"] == "remove"
    ] == [
        f"{path}/1",
        f"{path}/0",
    ]
    assert disowning({"metadata": {"managedFields": [helm]}}) == disowning({"metadata": {}}) == []


class Objects:
    """The API server with one route. A proxy writes its status after the first patches: its entry comes first."""

    def __init__(self, writes: int) -> None:
        self.route = route((10_000, 0)) | {"metadata": {"managedFields": [{"manager": "helm"}]}}
        self.writes = writes

    async def get_namespaced_custom_object(self, **place):
        return copy.deepcopy(self.route)

    async def patch_namespaced_custom_object(self, body, field_manager, **place):
        try:
            self.route = applied(self.route, body)
        except (AssertionError, IndexError) as error:
            raise ApiException(status=422, reason="Invalid") from error
        owners = self.route["metadata"]["managedFields"]
        if any(step["path"].endswith("/weight") for step in body):
            owners.append({"manager": field_manager})
        changed = copy.deepcopy(self.route)
        if self.writes:
            self.writes -= 1
            owners.insert(0, {"manager": f"proxy-{self.writes}"})
        return changed

    async def close(self) -> None:
        pass


def over(objects: Objects) -> KubernetesRoutes:
    routes = object.__new__(KubernetesRoutes)
    routes._namespace, routes._objects = "here", objects
    return routes


@pytest.mark.parametrize("writes", [0, 1, 3])
async def test_fields_are_given_up_also_while_a_proxy_writes_its_status(writes):
    objects = Objects(writes)
    await over(objects).set_weight(ROUTES, 500)
    assert weights_of(objects.route, ROUTES, "front") == {500}
    assert all(entry["manager"] != MANAGER for entry in objects.route["metadata"]["managedFields"])
