"""Who changed what, and what a team is told of its budget."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from headrace_gateway.admin import KeyAdmin
from headrace_gateway.admission.keys import ApiKey, KeyRing, digest_of
from headrace_gateway.audit import Auditor, Entry, config_entry
from headrace_gateway.budgets.alerts import Alerts, shaped, told
from headrace_gateway.budgets.period import period_of
from headrace_gateway.budgets.slices import Slice
from headrace_gateway.budgets.state import BudgetReader
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot, parse
from headrace_kit.config.tenants import Budget
from headrace_kit.errors import BadInput, Forbidden, NotReady, Unauthenticated

from .conftest import CONFIG


def compiled(text):
    return compile_table(Snapshot(parse(text), Path("headrace.yaml")))


def test_a_config_that_is_served_is_noted_with_what_is_different():
    old = compiled(CONFIG)
    new = compiled(
        CONFIG.replace("concurrent_requests: 3", "concurrent_requests: 4").replace("[plain]", "[plain, sturdy]")
    )
    entry = config_entry(old, new)
    assert (entry.before, entry.subject) == ({"hash": old.hash}, new.hash)
    assert entry.after == {
        "hash": new.hash,
        "changes": {
            "tenants.dev.limits.concurrent_requests": {"before": 3, "after": 4},
            "tenants.narrow.allow_models": {"before": ["plain"], "after": ["plain", "sturdy"]},
        },
        "more": 0,
    }
    assert config_entry(None, new).after["changes"] == {}


class FakeAudit:
    """Fulfils `AuditStore`."""

    def __init__(self):
        self.noted, self.away = [], 1

    async def note(self, entry):
        if self.away:
            self.away -= 1
            raise NotReady("away")
        self.noted.append(entry)
        return True

    note_config = note


async def test_entries_wait_for_the_table(monkeypatch):
    monkeypatch.setattr("headrace_gateway.audit._RETRY_S", 0.0)
    store = FakeAudit()
    auditor = Auditor(store)
    entries = [Entry("k", "key.created", "dev", str(number)) for number in range(3)]
    for entry in entries:
        auditor.note(entry)
    auditor.start()
    await asyncio.sleep(0)
    await auditor.stop()
    assert store.noted == entries


def test_an_alert_is_told_once_a_threshold():
    told = []
    alerts = Alerts(CollectorRegistry(), told.append)
    slice_ = Slice("dev", Budget(usd="0.000001", per="day", alerts=["50%", "100%"]), period_of("day", 20_785))
    for spent in (499, 500, 700, 1000, 1000):
        slice_.settled = spent
        alerts.look(slice_)
    assert [(entry.after["threshold"], entry.after["spent_usd"]) for entry in told] == [
        ("50%", "0.0000005"),
        ("100%", "0.000001"),
    ]
    assert len({entry.once for entry in told}) == 2


def test_an_alert_is_a_message_for_machines_and_for_slack():
    entries = []
    alerts = Alerts(CollectorRegistry(), entries.append)
    slice_ = Slice("dev", Budget(usd=5, per="day", alerts=["80%"]), period_of("day", 20_785))
    slice_.settled = 4_000_000_000
    alerts.look(slice_)
    news = told(entries[0])
    assert json.loads(shaped(news, "plain")) == {
        "type": "budget_alert",
        "tenant": "dev",
        "period": "day:2026-11-28",
        "per": "day",
        "threshold": "80%",
        "spent_usd": "4",
        "budget_usd": "5",
        "resets_at": "2026-11-29T00:00:00Z",
    }
    text = json.loads(shaped(news | {"tenant": "<!here>"}, "slack"))["text"]
    assert "*&lt;!here&gt;* has spent 80% of its budget of $5 a day: $4" in text


def test_a_rotated_key_has_two_secrets_until_the_overlap_ends(monkeypatch):
    ring = KeyRing(None)
    key = ApiKey("k", "dev", "n", frozenset(), digest_of("new"), previous=digest_of("old"), previous_until=100.0)
    ring.update([key])
    monkeypatch.setattr("time.time", lambda: 99.0)
    assert ring.authenticate("Bearer old") is ring.authenticate("Bearer new") is key
    monkeypatch.setattr("time.time", lambda: 100.0)
    assert ring.authenticate("Bearer new") is key
    with pytest.raises(Unauthenticated, match="replaced") as caught:
        ring.authenticate("Bearer old")
    assert caught.value.code == "rotated_api_key"
    ring.update([ApiKey("k", "dev", "n", frozenset(), digest_of("newest"))])
    for secret in ("old", "new"):
        with pytest.raises(Unauthenticated, match="not known"):
            ring.authenticate(f"Bearer {secret}")


@pytest.mark.parametrize("overlap", ["soon", "-1s", "91d", "1w"])
async def test_an_overlap_is_a_duration(rig, overlap):
    with pytest.raises(BadInput, match="overlap"):
        await KeyAdmin(None).rotate(rig.context(), "k", overlap)


async def test_a_team_is_told_what_it_has_left(rig):
    rig.table = compiled(CONFIG.replace("dev: {limits", "dev: {budget: {usd: 10, per: month}, limits"))

    async def look(slice_):
        slice_.settled, slice_.room, slice_.pending = 2_000_000_000, 5_000_000_000, False

    state = await BudgetReader(rig.book, look).read(rig.context(), "")
    [budget] = state.budgets
    assert (budget.spent, budget.reserved, budget.remaining) == (2_000_000_000, 3_000_000_000, 5_000_000_000)
    assert budget.current
    assert state.limits.concurrent_requests == 3
    with pytest.raises(Forbidden):
        await BudgetReader(rig.book, look).read(rig.context(), "narrow")

    async def away(_):
        raise NotReady("away")

    assert not (await BudgetReader(rig.book, away).read(rig.context(), "dev")).budgets[0].current
