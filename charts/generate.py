"""What is made from the chart's values and from the config's models: schema, table of values, dashboards.

python charts/generate.py [--check]

values.schema.json     types from the values' defaults, bounds and enums from `RULES`, `config` from the config's schema
README.md              the table of values, from the comments above them
files/dashboards/      Grafana's dashboards, from `infra/dashboards/panels.yaml`
files/grpc-servicers.yaml   what Ray Serve must know of the protos
files/modelrollouts.yaml    the CustomResourceDefinition, by `model_rollouts.py`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from headrace_kit.config.ports import SERVICES
from headrace_kit.config.schema import json_schema
from headrace_kit.hosting.ray_ready import add_functions

if TYPE_CHECKING:
    from charts.model_rollouts import definition
else:  # a script: its own folder is on the path
    from model_rollouts import definition

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "headrace"
PANELS = ROOT / "infra" / "dashboards" / "panels.yaml"
BEGIN, END = "<!-- values: made by charts/generate.py -->", "<!-- end of values -->"

TEXTS = {"type": "array", "items": {"type": "string"}}
OBJECTS = {"type": "array", "items": {"type": "object"}}
MAP = {"type": "object"}
TEXT_MAP = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"requests": QUANTITIES, "limits": QUANTITIES, "claims": OBJECTS},
}
QUANTITY = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?([KMGTPE]i?|m)?)?$"}
PORTS = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}}
COUNT = {"type": "integer", "minimum": 0}

RULES: dict[str, dict[str, Any]] = {
    "resources": RESOURCES,
    "env": OBJECTS, "volumes": OBJECTS, "volumeMounts": OBJECTS, "tolerations": OBJECTS, "metrics": OBJECTS,
    "topologySpreadConstraints": OBJECTS, "triggers": OBJECTS, "clients": OBJECTS, "kubeRay": OBJECTS, "to": OBJECTS,
    "apiServer": OBJECTS,
    "parentRefs": OBJECTS,
    "labels": TEXT_MAP, "annotations": TEXT_MAP, "nodeSelector": TEXT_MAP, "digests": TEXT_MAP, "configFiles": TEXT_MAP,
    "affinity": MAP, "issuerRef": TEXT_MAP, "egress": {"type": "object", "additionalProperties": OBJECTS},
    "settings": QUANTITIES,
    "passwordSecret": {
        "type": "object", "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "key": {"type": "string"}},
    },
    "pullSecrets": TEXTS, "extra": TEXTS, "deployments": TEXTS, "command": TEXTS, "args": TEXTS, "hostnames": TEXTS,
    "dnsNames": TEXTS,
    "components": {
        "type": "array", "items": {"enum": ["gateway", "inference", "tritons", "rollout", "tracing", "ray"]},
    },
    "accessModes": {
        "type": "array", "items": {"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]},
    },
    "ports": PORTS, "apiServerPorts": PORTS,
    "size": QUANTITY, "sharedMemory": QUANTITY,
    "runtime": {"enum": ["", "process", "ray"]},
    "layout": {"enum": ["single", "per-service"]},
    "pullPolicy": {"enum": ["", "Always", "IfNotPresent", "Never"]},
    "cpuPercent": {"type": "integer", "minimum": 0, "maximum": 1000},
    "kvCachePercent": {"type": "integer", "minimum": 0, "maximum": 100},
    "minReplicas": {"type": "integer", "minimum": 1},
    "maxReplicas": {"type": "integer", "minimum": 1},
    "lingerSeconds": {"type": "integer", "minimum": 0, "maximum": 120},
    "timeoutSeconds": {"type": "integer", "minimum": 30},
    "startupMinutes": {"type": "integer", "minimum": 1},
    "uid": {"type": "integer", "minimum": 1},
    "cpus": {"type": ["integer", "number"], "minimum": 0},
    "workers": {
        "type": "array",
        "items": {"type": "object", "required": ["name", "replicas", "resources"], "properties": {
            "name": {"type": "string"}, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT,
        }},
    },
}  # fmt: skip
"""Schemas of keys by their name, where the default's type does not tell."""


def values() -> CommentedMap:
    """The chart's values with their comments."""
    given: CommentedMap = YAML(typ="rt").load((CHART / "values.yaml").read_text())
    return given


def schema(given: CommentedMap) -> dict[str, Any]:
    """JSON schema of the values."""
    config = json_schema()
    definitions = config.pop("$defs")
    config.pop("$schema")
    properties = {key: _schema(key, value) for key, value in given.items()}
    pods, triton = properties["pods"]["properties"], properties["triton"]["properties"]
    for name in SERVICES:
        beside = {"gateway": ("eventLog", "canary"), "guardrails": ("canary",)}.get(name, ())
        own = {**pods, **{key: properties[name]["properties"][key] for key in beside}}
        properties[name] = {"type": "object", "additionalProperties": False, "properties": own}
    keda = pods["keda"]["properties"]
    sleeping = {**pods["keda"], "properties": {**keda, "minReplicas": {**keda["minReplicas"], "minimum": 0}}}
    triton |= {"autoscaling": pods["autoscaling"], "keda": sleeping}
    server = {"type": ["object", "null"], "additionalProperties": False, "properties": triton}
    properties["tritons"] = {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$"},
        "additionalProperties": server,
    }
    properties["runtime"] = {"enum": ["process", "ray"]}
    properties["config"] = config
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "headrace's values",
        "type": "object",
        "additionalProperties": False,
        "properties": {**properties, "global": {"type": "object"}},
        "$defs": definitions,
    }


def _schema(key: str, value: Any) -> dict[str, Any]:
    if key in RULES and not (key in ("metrics", "ports", "extra") and isinstance(value, dict)):
        return dict(RULES[key])
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return dict(COUNT)
    if isinstance(value, dict):
        if not value:
            return dict(MAP)
        inner = {name: _schema(name, one) for name, one in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": inner}
    if isinstance(value, list):
        return {"type": "array"}
    return {"type": "string"}


def table(given: CommentedMap) -> str:
    """The values as a Markdown table."""
    lines = ["| value | default | what |", "|---|---|---|"]
    for path, default, what in rows(given):
        shown = json.dumps(default) if not isinstance(default, str) else default
        cell = f"`{shown}`" if shown not in ("", "[]", "{}") else ""
        lines.append(f"| `{path}` | {cell.replace('|', chr(92) + '|')} | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def rows(given: CommentedMap, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Path, default and comment of each value."""
    for key, value in given.items():
        comment = _comment(given, key)
        path = f"{prefix}{key}"
        nested = isinstance(value, CommentedMap) and value and key not in ("resources", "settings", "labels", "config")
        if nested and not value.fa.flow_style():
            if comment:
                yield path, {}, comment
            yield from rows(value, f"{path}.")
        else:
            yield path, _plain(value), comment


def _comment(given: CommentedMap, key: str) -> str:
    lines = CHART.joinpath("values.yaml").read_text().splitlines()
    number = given.lc.key(key)[0]
    found: list[str] = []
    while number and lines[number - 1].strip().startswith("#"):
        number -= 1
        found.insert(0, lines[number].strip().lstrip("# "))
    return " ".join(found)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def readme(given: CommentedMap) -> str:
    """The chart's README with a fresh table."""
    text = (CHART / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table(given)}\n\n{END}{rest.split(END)[1]}"


def dashboards() -> dict[str, str]:
    """Grafana's dashboards by file name."""
    boards = YAML(typ="safe").load(PANELS.read_text())
    return {f"{name}.json": json.dumps(_dashboard(name, board), indent=1) + "\n" for name, board in boards.items()}


def _dashboard(name: str, board: dict[str, Any]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels: list[dict[str, Any]] = []
    for number, panel in enumerate(board["panels"]):
        place = {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8}
        targets = [
            {
                "refId": chr(65 + index), "datasource": source, "expr": expr, "legendFormat": legend,
                "exemplar": panel.get("exemplars", False),
            }
            for index, (legend, expr) in enumerate(panel["queries"].items())
        ]  # fmt: skip
        panels.append(
            {
                "id": number + 1,
                "type": "timeseries",
                "title": panel["title"],
                "description": panel["what"],
                "gridPos": place,
                "datasource": source,
                "fieldConfig": {"defaults": {"unit": panel["unit"], "min": 0}, "overrides": []},
                "targets": targets,
            }
        )
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "namespace", "type": "query", "label": "Namespace", "datasource": source, "refresh": 2,
            "query": "label_values(headrace_gateway_in_flight, namespace)",
        },
    ]  # fmt: skip
    return {
        "uid": f"headrace-{name}",
        "title": f"headrace: {board['title']}",
        "tags": ["headrace"],
        "schemaVersion": 39,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables},
        "panels": panels,
    }


def files() -> dict[Path, str]:
    """Everything that is made, by path."""
    given = values()
    servicers = "".join(f"- {name}\n" for name in add_functions())
    return {
        CHART / "values.schema.json": json.dumps(schema(given), indent=1) + "\n",
        CHART / "README.md": readme(given),
        CHART / "files" / "grpc-servicers.yaml": servicers,
        CHART / "files" / "modelrollouts.yaml": _yaml(definition()),
        **{CHART / "files" / "dashboards" / name: text for name, text in dashboards().items()},
    }


def _yaml(tree: dict[str, Any]) -> str:
    writer, text = YAML(typ="safe"), StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 4096
    writer.dump(tree, text)
    return text.getvalue()


def main() -> int:
    """Write the files, or with `--check` say which are not as they would be written. Returns the exit code."""
    made = files()
    if "--check" not in sys.argv[1:]:
        for path, text in made.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return 0
    old = [str(path.relative_to(ROOT)) for path, text in made.items() if not path.exists() or path.read_text() != text]
    if old:
        print(f"not up to date, run `make protos`: {', '.join(old)}", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
