"""Forecasts and hours that stand out."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date, timedelta

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.costs import anomalies, by_day, forecast
from headrace.types.usage import Counted, LedgerDifference, Reconciliation, UsageRow

TODAY = date(2026, 6, 15)


def usage(cost: float, **groups: str) -> UsageRow:
    return UsageRow(groups, 1, 10, 10, f"{cost:.6f}", "0")


def test_days_that_are_all_alike_go_on_so():
    spent = {TODAY - timedelta(days=back): 2.0 for back in range(1, 29)}
    found = forecast(spent, TODAY)
    assert found.so_far == 28.0
    assert found.expected == found.low == found.high == 60.0


def test_weekends_cost_what_weekends_cost():
    days = [TODAY - timedelta(days=back) for back in range(1, 29)]
    spent = {day: 0.0 if day.weekday() > 4 else 10.0 for day in days}
    workdays = sum(date(2026, 6, number).weekday() < 5 for number in range(1, 31))
    assert forecast(spent, TODAY).expected == pytest.approx(10.0 * workdays)


def test_the_interval_holds_what_is_drawn_from_days_that_differ():
    spent = {TODAY - timedelta(days=back): float(back % 5) for back in range(1, 29)}
    found = forecast(spent, TODAY)
    assert found.low < found.expected < found.high
    assert found == forecast(spent, TODAY), "the same question has the same answer"


def test_today_costs_at_least_what_it_has_and_nothing_is_known_of_a_first_day():
    spent = {TODAY - timedelta(days=back): 1.0 for back in range(1, 29)} | {TODAY: 50.0}
    assert forecast(spent, TODAY).expected == pytest.approx(14 + 50 + 15)
    assert forecast({TODAY: 3.0}, TODAY).expected == 3.0
    assert forecast({}, TODAY).expected == 0.0


def test_an_hour_far_above_a_teams_usual_stands_out_and_a_team_that_always_spends_much_does_not():
    hours = [f"2026-06-{1 + number // 24:02d}T{number % 24:02d}:00:00Z" for number in range(72)]
    rows = [usage(0.10 + 0.001 * (number % 7), tenant="calm", hour=hour) for number, hour in enumerate(hours)]
    rows += [usage(40 + number % 3, tenant="big", hour=hour) for number, hour in enumerate(hours)]
    rows += [usage(1e-5, tenant="tiny", hour=hour) for hour in hours] + [usage(0.004, tenant="tiny", hour="2026-07-01")]
    assert anomalies(rows) == []
    rows.append(usage(3.0, tenant="calm", hour="2026-06-04T03:00:00Z"))
    [one] = anomalies(rows)
    assert (one.tenant, one.hour, one.cost_usd) == ("calm", "2026-06-04T03:00:00Z", 3.0)
    assert one.z > 100


def test_a_team_with_a_short_history_is_not_judged():
    rows = [usage(0.1, tenant="new", hour=f"2026-06-01T{number:02d}:00:00Z") for number in range(20)]
    assert anomalies([*rows, usage(9.0, tenant="new", hour="2026-06-01T21:00:00Z")]) == []


def test_rows_of_a_day_are_added_up():
    rows = [usage(1, day="2026-06-01", model="a"), usage(2, day="2026-06-01", model="b")]
    assert by_day(rows) == {date(2026, 6, 1): 3.0}


class Client:
    def __init__(self, found: Reconciliation) -> None:
        self.found = found

    def reconcile(self, **asked) -> Reconciliation:
        return self.found


@pytest.mark.parametrize("differs", [False, True], ids=["agrees", "differs"])
def test_reconcile_says_what_differs_and_fails_then(monkeypatch, differs):
    one = LedgerDifference("r", "tokens_differ", Counted(1, 0, 2, "0.1"), Counted(1, 0, 3, "0.2"), trace_id="abc")
    found = Reconciliation(3, {"same": 2, "tokens_differ": int(differs)}, [one] if differs else [])
    monkeypatch.setattr("headrace.cli.costs.connect", lambda ctx, admin: nullcontext(Client(found)))
    done = CliRunner().invoke(app, ["costs", "reconcile"])
    assert done.exit_code == int(differs)
    assert "2 agree" in done.output
    assert ("abc" in done.output) == differs
