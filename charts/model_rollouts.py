"""The CustomResourceDefinition of `ModelRollout`, made from the config's model of a rollout.

Its schema is structural, as Kubernetes wants it: no references, no unknown keys, `null` as `nullable`. What a schema
can say is refused by the API server at once, also by CEL rules; the rest by the rollout service, in the status.
Formats: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

from typing import Any

from headrace_kit.config.rollouts import Rollout

GROUP, VERSION, KIND, PLURAL = "headrace.dev", "v1alpha1", "ModelRollout", "modelrollouts"
_KEPT = frozenset(
    {
        "description", "enum", "maxItems", "maxLength", "maximum", "maxProperties", "minItems", "minLength", "minimum",
        "minProperties", "pattern", "type",
    }
)  # fmt: skip
# CEL's cost is estimated from these, so every list and text that a rule reads has one.
_MOST = {"steps": 32, "freeze": 64, "days": 7, "kinds": 8}
PERCENT = {"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,6})?%$", "maxLength": 12}
# A rule with two dashes in its text would end a comment in some tools: none has.
_WEIGHT = "(has(s.weight) ? double(s.weight.replace('%', '')) : 0.0)"
RULES = {
    "steps": [
        {"rule": f"self.map(s, {_WEIGHT}).isSorted()", "message": "weights of steps must not fall"},
        {
            "rule": "has(self[size(self) - 1].weight) && double(self[size(self) - 1].weight.replace('%', '')) == 100.0",
            "message": "the last step must have weight 100%",
        },
    ],
    "schedule": [
        {
            "rule": "!has(self.start) || !has(self.end) || self.start < self.end",
            "message": "start is not before end",
        }
    ],
}


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    columns = [
        ("Model", "string", ".spec.model", 0),
        ("Phase", "string", ".status.phase", 0),
        ("Step", "string", ".status.progress", 0),
        ("Weight", "string", ".status.weight", 0),
        ("Shadow", "string", ".status.shadow", 1),
        ("Metrics", "string", ".status.metrics", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
        ("Message", "string", ".status.message", 1),
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "modelrollout",
                "shortNames": ["mr"],
                "categories": ["headrace"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in columns
                    ],
                    "schema": {"openAPIV3Schema": _object()},
                }
            ],
        },
    }


def _object() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "The swap of one model to its candidate, step by step, judged on live traffic.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _spec(),
            "status": _status(),
        },
    }


def _spec() -> dict[str, Any]:
    schema = Rollout.model_json_schema(mode="validation")
    made = _structural("", schema, schema["$defs"])
    model = {
        "type": "string",
        "description": "Name of the model in the config, or `service/gateway` or `service/guardrails` for a release.",
        "pattern": r"^(service/(gateway|guardrails)|[a-z0-9][a-z0-9._-]{0,62})$",
        "maxLength": 63,
        "x-kubernetes-validations": [
            {"rule": "self == oldSelf", "message": "model cannot be changed: make another ModelRollout for it"}
        ],
    }
    queue = {
        "type": "boolean",
        "description": "Wait behind what stands of the model. Default: take its place.",
    }
    made["properties"] = {"model": model, "queue": queue, **made["properties"]}
    made["required"] = ["model", *made["required"]]
    made["properties"]["candidate"] |= {"x-kubernetes-preserve-unknown-fields": True}
    return made


def _structural(name: str, given: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """One part of the schema, with what it refers to in place."""
    own = {key: value for key, value in given.items() if key == "description"}
    if "$ref" in given:
        return {**_structural(name, definitions[given["$ref"].rsplit("/", 1)[1]], definitions), **own}
    if "anyOf" in given:
        parts = [part for part in given["anyOf"] if part.get("type") != "null"]
        null = {"nullable": True} if len(parts) < len(given["anyOf"]) else {}
        if len(parts) == 1:
            return {**_structural(name, parts[0], definitions), **own, **null}
        assert {part["type"] for part in parts} == {"string", "number"}, given
        return {"x-kubernetes-int-or-string": True, **own, **null}
    if given.get("type") == "string" and given.get("le") == 10_000:
        return {**PERCENT, **own}
    made = {key: value for key, value in given.items() if key in _KEPT}
    if given.get("format") == "date-time":
        made["format"] = "date-time"
    elif given.get("format") == "time":
        made |= {"pattern": r"^[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?$", "maxLength": 8}
    if "exclusiveMinimum" in given:
        made |= {"minimum": given["exclusiveMinimum"], "exclusiveMinimum": True}
    if "items" in given:
        made["items"] = _structural("", given["items"], definitions)
        made.setdefault("maxItems", _MOST.get(name, 64))
    if "properties" in given:
        made["properties"] = {key: _structural(key, one, definitions) for key, one in given["properties"].items()}
        made |= {"required": given["required"]} if given.get("required") else {}
    for pattern in (given.get("patternProperties") or {}).values():
        made["additionalProperties"] = _structural("", pattern, definitions)
    if name in RULES and made["type"] in ("array", "object"):
        made["x-kubernetes-validations"] = RULES[name]
    return made


def _status() -> dict[str, Any]:
    text, whole, number = {"type": "string"}, {"type": "integer", "format": "int64"}, {"type": "number"}
    moment = {"type": "string", "format": "date-time"}
    verdict = {
        "type": "object",
        "required": ["metric", "state"],
        "properties": {
            "metric": text,
            "state": {**text, "description": "`within`, `beyond`, `undecided` or `missing`."},
            **{
                name: {**number, "description": what}
                for name, what in {
                    "estimate": "Candidate's difference from the baseline, or their ratio: best guess.",
                    "low": "Lower end of its interval, which holds at every look.",
                    "high": "Upper end of it.",
                    "margin": "Worst value that is allowed.",
                    "alpha": "Share of the error rate that this metric has.",
                    "evidence": "How far the case for a rollback is, 0 to 1; 1 is shown.",
                }.items()
            },
            "baseline": {**whole, "description": "Outcomes of the baseline."},
            "candidate": {**whole, "description": "Outcomes of the candidate."},
            "reason": text,
        },
    }
    condition = {
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": text,
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": text,
            "message": text,
            "lastTransitionTime": moment,
            "observedGeneration": whole,
        },
    }
    return {
        "type": "object",
        "description": "Where the swap is; written by the rollout service.",
        "properties": {
            "observedGeneration": whole,
            "phase": {
                **text,
                "description": "`Queued`, `Pending`, `Running`, `Promoted`, `RolledBack`, `Aborted`, `Superseded`; "
                "`Refused` where the spec cannot be followed.",
            },
            "rolloutID": {**text, "description": "As `headrace rollouts` shows it."},
            "step": {**whole, "description": "Step that it is in, from 1."},
            "steps": whole,
            "progress": text,
            "weight": {**text, "description": "Share of sticky keys on the candidate."},
            "shadow": {**text, "description": "Share of requests that are copied to it."},
            "holds": {**text, "description": "Why the step does not go on although its time has passed."},
            "message": text,
            "metrics": text,
            "startedAt": moment,
            "stepStartedAt": moment,
            "verdicts": {"type": "array", "items": verdict},
            "conditions": {
                "type": "array",
                "items": condition,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        },
    }
