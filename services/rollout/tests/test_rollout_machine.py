"""The life of rollouts, by a clock that the tests hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace_kit.config import Config
from headrace_kit.config.rollouts import Rollout
from headrace_kit.errors import BadInput, Conflict, Forbidden, NotFound, NotReady
from headrace_kit.rpc import Identity
from headrace_rollout.domain.records import State, canonical, rollout_id

STEPS = [
    {"weight": "5%", "at_least": "60s"},
    {"weight": "25%", "at_least": "1m"},
    {"weight": "100%", "at_least": "10s"},
]


def swap(deployment: str = "large", steps: list | None = None) -> dict:
    return {"candidate": {"deployment": deployment}, "steps": steps or STEPS}


async def test_a_rollout_goes_through_its_steps_and_stands_until_the_file_adopts_it(world):
    id_ = world.asks(swap())
    seen = []
    for _ in range(30):
        await world.pass_time(5)
        if not seen or seen[-1] != world.weights.get(id_):
            seen.append(world.weights.get(id_))
    assert seen == [500, 2500, 10_000]
    record = world.record(id_)
    assert (record.state, record.overlay) == (State.PROMOTED, True)
    assert world.trail(id_) == ["pending", "running", "running", "running", "promoted"]
    world.asks(swap(), model={"deployment": "large"})
    await world.pass_time(5)
    assert (world.weights, world.record(id_).state) == ({}, State.PROMOTED)
    assert not world.record(id_).overlay


async def test_a_step_lasts_at_least_as_long_as_it_says(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    await world.pass_time(59)
    assert world.record(id_).step == 0
    await world.pass_time(1)
    assert world.record(id_).step == 1


async def test_time_in_which_nobody_could_grant_does_not_count(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    await world.pass_time(30)
    world.store.pass_time(3600)
    world.controller = world.new_controller()
    await world.controller.tick()
    assert world.record(id_).step == 0
    await world.pass_time(29)
    assert world.record(id_).step == 0
    await world.pass_time(1)
    assert world.record(id_).step == 1


@pytest.mark.parametrize("jump_s", [-7200, 86_400])
async def test_a_jump_of_the_clock_moves_no_step(world, jump_s):
    id_ = world.asks(swap())
    await world.controller.tick()
    world.store.pass_time(jump_s)
    await world.pass_time(55)
    assert world.record(id_).step == 0
    await world.pass_time(10)
    assert world.record(id_).step == 1


async def test_a_controller_that_restarts_often_goes_on_where_it_was(world):
    id_ = world.asks(swap())
    for _ in range(40):
        world.controller = world.new_controller()
        await world.pass_time(5)
    assert world.trail(id_) == ["pending", "running", "running", "running", "promoted"]
    assert len({entry.record.salt for entry in world.store.transitions}) == 1


async def test_looking_again_at_the_same_moment_changes_nothing(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    before = (dict(world.store.records), list(world.store.transitions))
    for _ in range(5):
        await world.controller.tick()
    assert (world.store.records, world.store.transitions) == before
    assert world.record(id_).state is State.RUNNING


async def test_an_id_that_has_ended_never_runs_again(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    await world.operations.abort(id_, "looks bad", world.admin)
    await world.pass_time(30)
    assert (world.record(id_).state, world.record(id_).reason) == (State.ABORTED, "looks bad")
    world.asks(None)
    await world.pass_time(5)
    world.asks(swap())
    await world.pass_time(5)
    assert world.trail(id_) == ["pending", "running", "aborted"]
    with pytest.raises(Conflict):
        await world.operations.start("assistant", canonical(world.config.rollouts["assistant"]), world.admin)


async def test_taking_the_entry_out_of_the_file_ends_it(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    world.asks(None)
    await world.controller.tick()
    assert world.record(id_).state is State.ABORTED
    assert "taken out of the config" in world.record(id_).reason
    assert world.weights == {}


async def test_another_entry_supersedes_the_one_before(world):
    first = world.asks(swap())
    await world.controller.tick()
    second = world.asks(swap("huge"))
    await world.controller.tick()
    assert world.record(first).state is State.SUPERSEDED
    assert second in world.record(first).reason
    assert world.weights == {second: 500}
    assert world.record(first).salt != world.record(second).salt


async def test_a_baseline_edited_in_the_middle_begins_the_rollout_anew(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    await world.pass_time(65)
    assert world.weights == {id_: 2500}
    world.asks(swap(), model={"deployment": "huge"})
    await world.controller.tick()
    assert (world.record(id_).state, world.weights) == (State.PENDING, {})
    assert "the config has changed what it compares" in world.record(id_).reason
    await world.controller.tick()
    assert (world.record(id_).step, world.weights) == (0, {id_: 500})
    await world.pass_time(60)
    assert world.record(id_).step == 1, "it goes on from there"
    assert len({entry.record.salt for entry in world.store.transitions}) == 1, "and nobody changes sides by it"


async def test_a_replica_that_has_not_read_a_change_yet_does_not_take_it_back(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    before, late = world.config, world.new_controller()
    world.asks(swap(), model={"deployment": "huge"})
    for config, controller in [(world.config, world.controller), (before, late)] * 5:
        world.config = config
        await controller.tick()
    assert world.trail(id_) == ["pending", "running", "pending", "running"]
    await world.pass_time(120)
    world.config = before
    await world.pass_time(5)
    assert world.trail(id_)[-2:] == ["pending", "running"], "a change that stands counts"


async def test_a_rollout_from_before_an_upgrade_goes_on(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    world.store.records[id_] = replace(world.record(id_), arms="")
    await world.pass_time(5)
    assert world.trail(id_) == ["pending", "running"] and world.record(id_).arms


async def test_going_back_to_an_entry_that_has_ended_ends_the_newer_one_too(world):
    world.asks(swap())
    await world.controller.tick()
    second = world.asks(swap("huge"))
    await world.controller.tick()
    world.asks(swap())
    await world.controller.tick()
    assert world.record(second).state is State.ABORTED
    assert world.weights == {}


async def test_the_newest_wish_wins_over_the_file(world):
    in_file = world.asks(swap())
    await world.controller.tick()
    started = await world.operations.start("assistant", canonical(Rollout.model_validate(swap("huge"))), world.admin)
    assert (started.state, started.source) == (State.RUNNING, "api")
    await world.pass_time(10)
    assert world.record(in_file).state is State.SUPERSEDED
    assert world.weights == {started.id: 500}
    world.asks(None)
    await world.pass_time(5)
    assert world.record(started.id).state is State.RUNNING, "the file never asked for this one"


async def test_a_promoted_candidate_is_in_the_way_of_the_next_until_it_is_adopted(world):
    first = await world.operations.start("assistant", canonical(Rollout.model_validate(swap())), world.admin)
    await world.operations.promote(first.id, world.admin)
    second = await world.operations.start("assistant", canonical(Rollout.model_validate(swap("huge"))), world.admin)
    assert second.state is State.PENDING
    assert first.id in second.reason
    await world.pass_time(10)
    assert world.weights == {first.id: 10_000}
    assert world.trail(second.id) == ["pending", "pending"], "the reason is written once"
    world.asks(None, model={"deployment": "large"})
    await world.pass_time(10)
    assert world.weights == {second.id: 500}


async def test_an_overlay_can_be_aborted_and_is_withdrawn_with_its_entry(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    await world.operations.promote(id_, world.admin)
    assert world.weights == {id_: 10_000}
    with pytest.raises(Conflict):
        await world.operations.promote(id_, world.admin)
    await world.operations.abort(id_, "", world.admin)
    assert (world.weights, world.record(id_).state) == ({}, State.ABORTED)
    with pytest.raises(Conflict):
        await world.operations.abort(id_, "", world.admin)

    other = world.asks(swap("huge"))
    await world.controller.tick()
    await world.operations.promote(other, world.admin)
    world.asks(None)
    await world.controller.tick()
    assert (world.weights, world.record(other).state) == ({}, State.ABORTED)


async def test_a_candidate_that_the_config_no_longer_allows_is_withdrawn(world):
    id_ = (await world.operations.start("assistant", canonical(Rollout.model_validate(swap())), world.admin)).id
    tree = world.config.model_dump(mode="json")
    del tree["deployments"]["large"]
    world.config = Config.model_validate(tree)
    await world.controller.tick()
    assert world.record(id_).state is State.ABORTED
    assert "'large'" in world.record(id_).reason


async def test_a_model_that_went_away_ends_its_rollout(world):
    id_ = (await world.operations.start("assistant", canonical(Rollout.model_validate(swap())), world.admin)).id
    world.config = Config.model_validate({"models": {}})
    await world.controller.tick()
    assert world.record(id_).state is State.ABORTED


async def test_it_holds_while_the_store_is_away(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    world.store.away = True
    with pytest.raises(NotReady):
        await world.controller.tick()
    with pytest.raises(NotReady):
        await world.operations.abort(id_, "", world.admin)
    world.store.away = False
    await world.pass_time(5)
    assert world.record(id_).state is State.RUNNING


async def test_a_replica_that_does_not_lead_grants_and_changes_nothing(world):
    id_ = world.asks(swap())
    await world.controller.tick()
    world.store.another_leads = True
    world.asks(None)
    await world.pass_time(200)
    assert world.record(id_).state is State.RUNNING
    assert world.weights == {id_: 500}


WHOLE = '"steps": [{"weight": "100%"}]'
LARGE = '"candidate": {"deployment": "large"}'


@pytest.mark.parametrize(
    ("spec", "param"),
    [
        ("{", "spec_json"),
        (f'{{{LARGE}, "steps": [{{"weight": NaN}}]}}', "spec_json"),
        ("[" * 60_000, "spec_json"),
        (" " * 70_000, "spec_json"),
        (f'{{"candidate": {{"a": "\\u0000"}}, {WHOLE}}}', "spec_json"),
        ("[]", "spec_json"),
        (f'{{"candidate": {{}}, {WHOLE}}}', "spec_json.candidate"),
        (f'{{{LARGE}, "steps": []}}', "spec_json.steps"),
        (f'{{{LARGE}, "steps": [{{"weight": "50%"}}]}}', "spec_json.steps"),
        (f'{{{LARGE}, "steps": [{{"weight": "9%"}}, {{"weight": "5%"}}, {{"weight": "100%"}}]}}', "spec_json.steps"),
        (f'{{{LARGE}, "steps": [{{}}, {{"weight": "100%"}}]}}', "spec_json.steps[0]"),
        (f'{{{LARGE}, "steps": [{{"weight": "100%", "at_least": "2m", "at_most": "1m"}}]}}', "spec_json.steps[0]"),
        (f'{{{LARGE}, {WHOLE}, "schedule": {{"timezone": "Mars"}}}}', "spec_json.schedule.timezone"),
        (f'{{{LARGE}, {WHOLE}, "schedule": {{"start": "18:00"}}}}', "spec_json.schedule"),
        (f'{{{LARGE}, {WHOLE}, "freeze": [{{"start": "2026-01-01T00:00:00"}}]}}', "spec_json.freeze[0].start"),
        (f'{{{LARGE}, "steps": [{{"weight": "101%"}}]}}', "spec_json.steps[0].weight"),
        (f'{{{LARGE}, "steps": [{{"weight": 1}}]}}', "spec_json.steps[0].weight"),
        (f'{{{LARGE}, {WHOLE}, "step": []}}', "spec_json.step"),
        (f'{{"candidate": {{"deployment": "larg"}}, {WHOLE}}}', "spec_json.candidate.deployment"),
        (f'{{"candidate": {{"timeout_ms": 1}}, {WHOLE}}}', "spec_json.candidate.timeout_ms"),
        (f'{{"candidate": {{"tiemout": 1}}, {WHOLE}}}', "spec_json.candidate.tiemout"),
    ],
)
async def test_a_bad_spec_names_the_field(world, spec, param):
    with pytest.raises(BadInput) as caught:
        await world.operations.start("assistant", spec, world.admin)
    assert caught.value.param == param
    assert not world.store.records


async def test_an_unknown_model_is_named_with_the_nearest(world):
    with pytest.raises(BadInput, match="did you mean 'assistant'") as caught:
        await world.operations.start("asistant", f"{{{LARGE}, {WHOLE}}}", world.admin)
    assert caught.value.param == "model"


async def test_the_same_start_twice_is_one_rollout(world):
    spec = canonical(Rollout.model_validate(swap()))
    first = await world.operations.start("assistant", spec, world.admin)
    again = await world.operations.start("assistant", spec, world.admin)
    assert first == again
    assert [record.id for record in await world.operations.rollouts(ended=False, who=world.admin)] == [first.id]


async def test_only_admins_may(world):
    nobody = Identity("gateway", "red", key_id="key-2")
    for call in (
        world.operations.rollouts(ended=True, who=nobody),
        world.operations.get("00", nobody),
        world.operations.start("assistant", "{}", nobody),
        world.operations.promote("00", nobody),
        world.operations.abort("00", "", nobody),
    ):
        with pytest.raises(Forbidden):
            await call


@pytest.mark.parametrize("id_", ["", "0123456789abcdef", "a'; DROP TABLE x", "\0", "a" * 1000])
async def test_an_unknown_id_is_not_found(world, id_):
    for call in (
        world.operations.get(id_, world.admin),
        world.operations.promote(id_, world.admin),
        world.operations.abort(id_, "", world.admin),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_pending_rollout_cannot_be_promoted(world):
    first = await world.operations.start("assistant", canonical(Rollout.model_validate(swap())), world.admin)
    await world.operations.promote(first.id, world.admin)
    second = await world.operations.start("assistant", canonical(Rollout.model_validate(swap("huge"))), world.admin)
    with pytest.raises(Conflict):
        await world.operations.promote(second.id, world.admin)


def test_the_identity_is_what_the_spec_means():
    minutes = Rollout.model_validate(swap(steps=[{"weight": "100%", "at_least": "15m"}]))
    seconds = Rollout.model_validate(swap(steps=[{"weight": "100%", "at_least": 900}]))
    assert rollout_id("assistant", minutes) == rollout_id("assistant", seconds)
    assert rollout_id("assistant", minutes) != rollout_id("other", minutes)
    other = Rollout.model_validate(swap(steps=[{"weight": "100%", "at_least": "14d"}]))
    assert rollout_id("assistant", minutes) != rollout_id("assistant", other)
    assert Rollout.model_validate_json(canonical(other)) == other
