"""Budgets that run low: told once a threshold and period, in the log, the metrics, the audit table, and to people."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from headrace_gateway.audit import PLATFORM, Entry
from headrace_gateway.budgets.slices import Slice
from headrace_gateway.outcome import usd
from headrace_kit.telling import slack_text

_log = logging.getLogger(__name__)
ALERT = "budget.alert"
"""Action of the audit entries."""


def told(entry: Entry) -> dict[str, Any]:
    """What people are told of an alert."""
    return {"type": "budget_alert", "tenant": entry.tenant, "period": entry.subject, **(entry.after or {})}


def shaped(news: Mapping[str, Any], shape: str) -> bytes:
    """The body of a message: the fields as they are, or text as Slack takes it."""
    if shape == "plain":
        return json.dumps(news).encode()
    team = slack_text(str(news["tenant"]))
    text = (
        f":warning: *{team}* has spent {news['threshold']} of its budget of ${news['budget_usd']} a {news['per']}: "
        f"${news['spent_usd']}\n_It begins anew at {news['resets_at']}_: `headrace budget --tenant {team}`"
    )
    return json.dumps({"text": text}).encode()


class Alerts:
    """Watches what is spent.

    Args:
        registry: of the process.
        note: writes an audit entry.
    """

    def __init__(self, registry: CollectorRegistry, note: Callable[[Entry], None]) -> None:
        self._note = note
        self._told: set[tuple[str, int, int]] = set()
        labels = ("tenant", "per")
        self._spent = Gauge("headrace_gateway_budget_spent_usd", "Spent of a budget in its period.", labels,
                            registry=registry)  # fmt: skip
        self._limit = Gauge("headrace_gateway_budget_usd", "Size of a budget.", labels, registry=registry)
        self._alerts = Counter("headrace_gateway_budget_alerts", "Thresholds that were passed.",
                               (*labels, "threshold"), registry=registry)  # fmt: skip

    def look(self, slice_: Slice) -> None:
        """A slice has been answered: what is spent of its budget is known anew."""
        budget = slice_.budget
        self._spent.labels(slice_.tenant, budget.per).set(slice_.settled / 1e9)
        self._limit.labels(slice_.tenant, budget.per).set(slice_.limit / 1e9)
        for threshold in budget.alerts:
            key = (slice_.name, threshold, slice_.limit)
            if slice_.settled * 10_000 < slice_.limit * threshold or key in self._told or not slice_.limit:
                continue
            self._told.add(key)
            share = f"{threshold / 100:g}%"
            self._alerts.labels(slice_.tenant, budget.per, share).inc()
            _log.warning("%s of a budget is spent", share, extra={"tenant": slice_.tenant, "budget": slice_.name})
            spent = {
                "per": budget.per,
                "spent_usd": usd(slice_.settled),
                "budget_usd": usd(slice_.limit),
                "threshold": share,
                "resets_at": slice_.period.resets_at.isoformat().replace("+00:00", "Z"),
            }
            once = f"{slice_.name}:{threshold}:{slice_.limit}"
            self._note(Entry(PLATFORM, ALERT, slice_.tenant, slice_.period.name, None, spent, once))
