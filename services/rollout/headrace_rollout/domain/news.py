"""What people are told of rollouts, as it happens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace_kit.telling import slack_text
from headrace_rollout.domain.records import Record, Transition
from headrace_rollout.domain.verdicts import Action, Decision

_ICONS = {
    "promoted": ":white_check_mark:",
    "rolled_back": ":rewind:",
    "aborted": ":octagonal_sign:",
    "hold": ":raised_hand:",
}


def of_transition(transition: Transition) -> dict[str, Any]:
    """What is told of a transition."""
    return _news(transition.record, str(transition.record.state), transition.reason, transition.actor) | {
        "at": transition.at.isoformat()
    }


def of_hold(record: Record, decision: Decision) -> dict[str, Any]:
    """What is told of a step that holds."""
    assert decision.action is Action.HOLD
    return _news(record, "hold", decision.reason, "controller") | {"at": decision.at.isoformat()}


def _news(record: Record, event: str, reason: str, actor: str) -> dict[str, Any]:
    return {
        "type": "rollout",
        "event": event,
        "rollout": record.id,
        "model": record.model,
        "step": record.step + 1,
        "steps": len(record.spec.steps),
        "weight": record.weight,
        "reason": reason,
        "actor": actor,
    }


def shaped(news: Mapping[str, Any], shape: str) -> bytes:
    """The body of a message: the fields as they are, or text as Slack takes it."""
    if shape == "plain":
        return json.dumps(news).encode()
    icon = _ICONS.get(news["event"], ":arrow_forward:")
    reason = slack_text(str(news["reason"]))
    text = (
        f"{icon} *{news['model']}* {str(news['event']).replace('_', ' ')} · step {news['step']} of {news['steps']}, "
        f"{news['weight'] / 100:g}% on the candidate\n{reason}\n"
        f"_rollout {news['rollout']}, by {news['actor']}_: `headrace rollouts explain {news['rollout']}`"
    )
    return json.dumps({"text": text}).encode()
