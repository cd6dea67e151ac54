"""The ledger held against counts of engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace_gateway.ledger.holding import Held, LedgerRow, hold
from headrace_gateway.ledger.reconcile import Used
from headrace_kit.config.deployments import Price
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.chat_pb2 import Usage

PRICE = Price(input_usd_per_million=1, output_usd_per_million=2, version="v1")
COST = PRICE.cost_nano_usd(100, 0, 10, 0)
ROW = LedgerRow("r", 0, 1, "t" * 32, "dev", "small", False, 100, 0, 0, 10, COST, "v1")


class Counts:
    """Knows what it is given."""

    def __init__(self, **known: Used) -> None:
        self.known, self.asked, self.away = known, [], False

    async def used(self, attempts):
        if self.away:
            raise NotReady("inference is away")
        self.asked.append(len(attempts))
        return {name: self.known[name] for name in attempts if name in self.known}


def counts(used: Usage | None, running: bool = False) -> Counts:
    return Counts(**({ROW.name: Used(used, running)} if used else {}))


@pytest.mark.parametrize(
    ("row", "used", "running", "held"),
    [
        (ROW, Usage(input_tokens=100, output_tokens=10), False, Held.SAME),
        (ROW, Usage(input_tokens=100, output_tokens=11), False, Held.TOKENS_DIFFER),
        (ROW, Usage(input_tokens=100, output_tokens=10, cached_input_tokens=4), False, Held.TOKENS_DIFFER),
        (replace(ROW, cost_nano_usd=COST + 1), Usage(input_tokens=100, output_tokens=10), False, Held.COST_DIFFERS),
        (
            replace(ROW, cost_nano_usd=COST + 1, price_version="v0"),
            Usage(input_tokens=100, output_tokens=10),
            False,
            Held.SAME,
        ),
        (ROW, Usage(input_tokens=100, output_tokens=3), True, Held.OPEN),
        (replace(ROW, open=True), None, False, Held.OPEN),
        (ROW, None, False, Held.NOT_COUNTED),
        (replace(ROW, input_tokens=0, output_tokens=0, cost_nano_usd=0), None, False, Held.UNUSED),
    ],
    ids=["same", "output", "cached", "cost", "older prices", "running", "open", "nobody", "unused"],
)
async def test_a_row_stands_as_the_engine_counted(row, used, running, held):
    report = await hold([row], counts(used, running), {"small": PRICE}.get)
    assert dict(report.counts) == {held: 1}
    assert [one.held for one in report.differences] == ([held] if "differ" in held else [])


async def test_a_difference_says_what_it_should_have_been():
    report = await hold([ROW], counts(Usage(input_tokens=100, output_tokens=20)), {"small": PRICE}.get)
    [one] = report.differences
    assert (one.output_tokens, one.cost_nano_usd) == (20, PRICE.cost_nano_usd(100, 0, 20, 0))


async def test_many_rows_are_asked_for_in_parts_and_none_is_called_right_unasked():
    rows = [replace(ROW, request_id=str(number)) for number in range(2500)]
    asked = counts(None)
    report = await hold(rows, asked, {"small": PRICE}.get)
    assert asked.asked == [1000, 1000, 500]
    assert report.counts[Held.NOT_COUNTED] == 2500
    asked.away = True
    with pytest.raises(NotReady):
        await hold(rows, asked, {"small": PRICE}.get)
