"""Plans are checked before anything starts."""

from __future__ import annotations

import pytest

from headrace_local.units import PlanError, Unit, check, select


def unit(name: str, *after: str, uses: tuple[str, ...] = ()) -> Unit:
    return Unit(name=name, argv=("true",), after=after, uses=uses)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([unit("a"), unit("a")], "two units are named a"),
        ([unit("a", "b")], "a waits for b, which is not in the plan"),
        ([unit("a", "b"), unit("b", uses=("c",)), unit("c", "a"), unit("d")], "wait for each other: a, b, c"),
    ],
)
def test_a_plan_that_cannot_be_ordered_is_refused(units, message):
    with pytest.raises(PlanError, match=message):
        check(units)


def test_parts_of_a_plan_wait_only_for_each_other():
    units = [unit("store"), unit("schema", "store"), unit("front", "schema", "store", uses=("model",)), unit("model")]
    check(units)
    chosen = {one.name: one for one in select(units, ["store", "front"])}
    assert list(chosen) == ["store", "front"]
    assert chosen["front"].after == ("store",)
    assert chosen["front"].uses == ()
    check(chosen.values())


def test_an_unknown_name_is_refused():
    with pytest.raises(PlanError, match="no such unit: stroe; there are store"):
        select([unit("store")], ["stroe"])
