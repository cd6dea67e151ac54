"""`ModelRollout` resources, against rollouts in memory and an API server that remembers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headrace_kit.errors import Conflict, NotReady
from headrace_rollout.domain.records import State
from headrace_rollout.resources.operator import Operator
from headrace_rollout.resources.reconciler import Reconciler
from headrace_rollout.resources.resource import ABORT, API_VERSION, APPROVE, FINALIZER, KIND, PROMOTE, Resource

STEPS = [{"weight": "10%", "at_least": "60s"}, {"weight": "50%", "approval": True}, {"weight": "100%"}]


class Server:
    """`ModelRollouts` as the API server keeps them: versions grow, deleted objects wait for finalizers."""

    def __init__(self) -> None:
        self.objects: dict[str, Resource] = {}
        self.events: list[tuple[str, str, str, bool]] = []
        self.writes = 0
        self.away = False

    def add(self, name: str, deployment: str = "large", steps: list | None = None, model: str = "assistant") -> None:
        spec = {"model": model, "candidate": {"deployment": deployment}, "steps": steps or STEPS}
        metadata = {"namespace": "ai", "name": name, "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
        self.objects[name] = Resource.read(
            {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        )

    def edit(self, name: str, **changes) -> None:
        spec = {**self.objects[name].spec, **changes}
        self._store(replace(self.objects[name], spec=spec, generation=self.objects[name].generation + 1))

    def annotate(self, name: str, **annotations: str) -> None:
        given = {f"headrace.dev/{verb}": value for verb, value in annotations.items()}
        self._store(replace(self.objects[name], annotations={**self.objects[name].annotations, **given}))

    def delete(self, name: str) -> None:
        self._store(replace(self.objects[name], deleting=True))

    async def patch(self, resource, *, finalizers=None, without_annotations=()):
        self._reach()
        held = self.objects[resource.name]
        if held.resource_version != resource.resource_version:
            raise Conflict("the object has been modified")
        left = {key: value for key, value in held.annotations.items() if key not in without_annotations}
        kept = held.finalizers if finalizers is None else tuple(finalizers)
        self._store(replace(held, annotations=left, finalizers=kept))

    async def apply_status(self, resource, status):
        self._reach()
        self.writes += 1
        if resource.name in self.objects:
            self._store(replace(self.objects[resource.name], status=status))

    async def event(self, resource, reason, message, *, warning):
        self.events.append((resource.name, reason, message, warning))

    async def lead(self, work):
        self._reach()
        await work()

    async def watch(self):
        self._reach()
        while True:
            yield list(self.objects.values())
            await asyncio.sleep(0.01)

    async def close(self):
        pass

    def _store(self, resource: Resource) -> None:
        if resource.deleting and not resource.finalizers:
            del self.objects[resource.name]
            return
        version = str(int(self.objects[resource.name].resource_version) + 1)
        self.objects[resource.name] = replace(resource, resource_version=version)

    def _reach(self) -> None:
        if self.away:
            raise NotReady("the API server is away")


class Desk:
    """A world, a server and a reconciler between them."""

    def __init__(self, world) -> None:
        self.world, self.server = world, Server()
        self.reconciler = Reconciler(self.server, world.operations, lambda: world.now_s)

    async def looks(self, times: int = 3) -> None:
        for _ in range(times):
            await self.reconciler.look(list(self.server.objects.values()))
            await self.world.controller.tick()

    def status(self, name: str = "swap") -> dict:
        return dict(self.server.objects[name].status)

    def condition(self, kind: str, name: str = "swap") -> dict:
        return {one["type"]: one for one in self.status(name)["conditions"]}[kind]

    def record(self, name: str = "swap"):
        return self.world.record(self.status(name)["rolloutID"])


@pytest.fixture
def desk(world) -> Desk:
    return Desk(world)


async def test_a_resource_starts_a_rollout_and_shows_where_it_is(desk):
    desk.server.add("swap")
    await desk.looks()
    status = desk.status()
    assert (status["phase"], status["progress"], status["weight"]) == ("Running", "1/3", "10%")
    assert status["observedGeneration"] == 1
    assert desk.server.objects["swap"].finalizers == (FINALIZER,)
    assert desk.record().source == "resource"
    assert [desk.condition(kind)["status"] for kind in ("Accepted", "Progressing", "Ready")] == [
        "True",
        "True",
        "False",
    ]
    assert [event[1] for event in desk.server.events] == ["StepStarted"]


async def test_nothing_is_written_while_nothing_changes(desk):
    desk.server.add("swap")
    await desk.looks()
    writes = desk.server.writes
    await desk.looks(5)
    assert desk.server.writes == writes


async def test_it_goes_on_with_an_approval_and_is_ready_when_it_is_promoted(desk):
    desk.server.add("swap")
    await desk.looks()
    for _ in range(6):
        await desk.world.pass_time(12)
    await desk.looks()
    assert (desk.status()["progress"], desk.condition("Progressing")["reason"]) == ("2/3", "Holds")
    desk.server.annotate("swap", approve="2")
    await desk.looks()
    await desk.world.pass_time(1)
    await desk.looks()
    assert desk.status()["phase"] == "Promoted"
    assert desk.condition("Ready")["status"] == "True"
    assert not desk.server.objects["swap"].annotations


@pytest.mark.parametrize(
    ("verb", "value", "state"),
    [("promote", "true", State.PROMOTED), ("abort", "it is late", State.ABORTED)],
    ids=["promote", "abort"],
)
async def test_people_act_on_it_by_annotation(desk, verb, value, state):
    desk.server.add("swap")
    await desk.looks()
    desk.server.annotate("swap", **{verb: value})
    await desk.looks()
    assert desk.record().state is state
    assert not desk.server.objects["swap"].annotations
    if verb == "abort":
        assert desk.status()["message"] == "it is late"
    assert desk.world.store.transitions[-1].actor == "resource swap"


@pytest.mark.parametrize(
    ("annotations", "event", "part"),
    [
        ({APPROVE: "1"}, "ApproveRefused", "needs no approval"),
        ({APPROVE: "first"}, "ApproveRefused", "number of a step"),
        ({APPROVE: "7"}, "ApproveRefused", "is in step 1, not 7"),
        ({ABORT: "x", PROMOTE: "true"}, "PromoteRefused", "has ended"),
    ],
    ids=["no approval", "no number", "another step", "ended before"],
)
async def test_what_cannot_be_done_is_told_and_not_tried_again(desk, annotations, event, part):
    desk.server.add("swap")
    await desk.looks()
    desk.server.annotate("swap", **{name.rsplit("/", 1)[1]: value for name, value in annotations.items()})
    await desk.looks(1)
    told = [one for one in desk.server.events if one[1] == event]
    assert len(told) == 1
    assert part in told[0][2]
    assert told[0][3]
    await desk.looks()
    assert len([one for one in desk.server.events if one[1] == event]) == 1


async def test_a_deleted_resource_goes_when_its_model_is_back_on_the_baseline(desk):
    desk.server.add("swap")
    await desk.looks()
    id_ = desk.record().id
    desk.server.delete("swap")
    assert "swap" in desk.server.objects
    await desk.looks(1)
    assert desk.world.record(id_).state is State.ABORTED
    assert desk.world.record(id_).reason == "its ModelRollout was deleted"
    assert not desk.server.objects
    assert desk.world.weights == {}


async def test_a_resource_that_went_without_waiting_ends_its_rollout_too(desk):
    desk.server.add("swap")
    await desk.looks()
    id_ = desk.record().id
    desk.server.objects.clear()
    await desk.looks(1)
    assert desk.world.record(id_).state is State.ABORTED


async def test_the_finalizer_is_not_put_back_when_somebody_took_it_off(desk):
    desk.server.add("swap")
    await desk.looks()
    await desk.server.patch(desk.server.objects["swap"], finalizers=[])
    await desk.looks()
    assert desk.server.objects["swap"].finalizers == ()


async def test_a_new_spec_replaces_the_rollout_of_the_old_one(desk):
    desk.server.add("swap")
    await desk.looks()
    first = desk.record().id
    desk.server.edit("swap", candidate={"deployment": "huge"})
    await desk.looks()
    assert desk.record().id != first
    assert desk.world.record(first).state is State.SUPERSEDED
    assert (desk.status()["phase"], desk.status()["observedGeneration"]) == ("Running", 2)


async def test_an_edit_that_cannot_be_followed_leaves_what_runs(desk):
    desk.server.add("swap")
    await desk.looks()
    first = desk.record().id
    desk.server.edit("swap", candidate={"deployment": "hugee"})
    await desk.looks()
    accepted = desk.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid")
    assert "spec.candidate" in accepted["message"]
    assert "huge" in accepted["message"]
    assert desk.world.record(first).state is State.RUNNING
    assert desk.status()["rolloutID"] == first


async def test_a_spec_that_never_could_be_followed_says_why(desk):
    desk.server.add("swap", model="asistant")
    await desk.looks()
    status = desk.status()
    assert status["phase"] == "Refused"
    assert "assistant" in status["message"]
    assert "rolloutID" not in status
    assert ("swap", "Refused", status["message"], True) in desk.server.events


async def test_a_spec_whose_rollout_has_ended_is_not_begun_again(desk):
    desk.server.add("swap")
    await desk.looks()
    desk.server.annotate("swap", abort="no")
    await desk.looks()
    assert desk.status()["phase"] == "Aborted"
    desk.server.objects.clear()
    desk.server.add("again")
    await desk.looks()
    accepted = desk.condition("Accepted", "again")
    assert (accepted["status"], accepted["reason"]) == ("False", "Ended")
    assert "change the spec" in accepted["message"]
    await desk.looks()
    assert desk.condition("Accepted", "again") == accepted


async def test_the_newest_of_two_resources_for_a_model_wins(desk):
    desk.server.add("one")
    await desk.looks()
    desk.server.add("two", deployment="huge")
    await desk.looks()
    assert (desk.status("one")["phase"], desk.status("two")["phase"]) == ("Superseded", "Running")


async def test_one_that_queues_waits_for_the_one_before_it(desk):
    desk.server.add("one")
    await desk.looks()
    desk.server.add("two", deployment="huge")
    desk.server.objects["two"] = replace(desk.server.objects["two"], queue=True)
    await desk.looks()
    assert (desk.status("one")["phase"], desk.status("two")["phase"]) == ("Running", "Queued")
    assert desk.condition("Progressing", "two")["status"] == "False"
    desk.server.annotate("one", abort="no")
    await desk.looks()
    assert (desk.status("one")["phase"], desk.status("two")["phase"]) == ("Aborted", "Running")


async def test_a_rollout_that_was_asked_for_by_api_goes_with_the_resource_that_asks_for_it_too(desk):
    from headrace_rollout.domain.desired import read_spec
    from headrace_rollout.domain.records import canonical

    desk.server.add("swap")
    spec = canonical(read_spec(desk.server.objects["swap"].spec_json))
    started = await desk.world.operations.start("assistant", spec, desk.world.admin)
    await desk.looks()
    assert desk.record().id == started.id
    assert desk.record().source == "resource"


async def test_a_resource_changed_under_our_hands_is_looked_at_again(desk):
    desk.server.add("swap")
    await desk.looks()
    seen = list(desk.server.objects.values())
    desk.server.annotate("swap", promote="true")
    stale = [replace(seen[0], annotations={PROMOTE: "true"})]
    await desk.reconciler.look(stale)
    assert desk.record().state is State.PROMOTED
    await desk.looks()
    assert desk.record().state is State.PROMOTED
    assert not desk.server.objects["swap"].annotations


async def test_without_the_api_server_rollouts_go_on(desk):
    desk.server.add("swap")
    await desk.looks()
    id_ = desk.record().id
    operator = Operator(desk.server, desk.reconciler)
    desk.server.away = True
    operator.start()
    await asyncio.sleep(0.05)
    await operator.stop()
    assert desk.world.record(id_).state is State.RUNNING


async def test_the_operator_follows_what_it_watches(desk):
    operator = Operator(desk.server, desk.reconciler)
    operator.start()
    try:
        desk.server.add("swap")
        async with asyncio.timeout(10):
            while not (desk.server.objects["swap"].status or {}).get("rolloutID"):
                await asyncio.sleep(0.01)
    finally:
        await operator.stop()
