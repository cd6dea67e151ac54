"""Alerts, dashboards, monitors: over metrics that the services really export."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from headrace_kit.config.ports import SERVICES
from headrace_kit.rpc.servicer import RpcRuntime
from headrace_kit.telemetry.measures import MEASURES

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "headrace"
METRIC = re.compile(r"\bheadrace_[a-z_]+[a-z]\b|\bgen_ai_[a-z_]+(?=\{)")  # labels are called gen_ai_*, too
MADE_BY = {
    "gateway": (
        ("observing.metrics", "Metrics"),
        ("observing.choices", "ChoiceMetrics"),
        ("observing.failures", "FailureMetrics"),
        ("budgets.alerts", "Alerts"),
    ),
    **{service: (("metrics", "Metrics"),) for service in SERVICES if service != "gateway"},
}
"""Classes that register a service's metrics."""


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Every series' name, with its labels."""
    found: dict[str, set[str]] = {}
    for service, classes in MADE_BY.items():
        registry = CollectorRegistry()
        for module, name in classes:
            make = getattr(importlib.import_module(f"headrace_{service}.{module}"), name)
            make(registry, None) if name == "Alerts" else make(registry)
        RpcRuntime.create(service, None, None, registry)
        for collector in list(registry._collector_to_names):
            labels = getattr(collector, "_labelnames", None) or getattr(collector, "_labels", ())
            for family in collector.describe():
                suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
                for suffix in suffixes:
                    found[family.name + suffix] = {*labels, *(["le"] if suffix == "_bucket" else [])}
    return found


def alerts() -> list[dict]:
    return yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["alerts"]


def expressions() -> list[tuple[str, str]]:
    boards = sorted((CHART / "files" / "dashboards").glob("*.json"))
    found = [(alert["name"], alert["expr"]) for alert in alerts()]
    for board in boards:
        for panel in json.loads(board.read_text())["panels"]:
            found += [(f"{board.stem}: {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


def test_every_metric_that_is_asked_for_is_exported(exported):
    unknown = {(place, name) for place, text in expressions() for name in METRIC.findall(text) if name not in exported}
    assert unknown == set()


def test_every_label_that_is_asked_for_is_there(exported):
    added = {"namespace", "pod", "container"}  # by whoever scrapes
    for place, text in expressions():
        labels = set().union(*(exported[name] for name in METRIC.findall(text))) | added
        grouped = {word.strip() for group in re.findall(r"\bby \(([^)]*)\)", text) for word in group.split(",")}
        matched = set(re.findall(r"([a-z_]+)(?:=~|!=|=)\"", text))
        assert (grouped | matched) <= labels, place


def test_exemplars_are_shown_of_histograms_and_of_all_that_the_conventions_name():
    shown = {
        name
        for board in (CHART / "files" / "dashboards").glob("*.json")
        for panel in json.loads(board.read_text())["panels"]
        for target in panel["targets"]
        if target["exemplar"]
        for name in METRIC.findall(target["expr"])
    }
    assert {f"{measure.prometheus_name}_bucket" for measure in MEASURES} <= shown
    assert {name for name in shown if not name.endswith("_bucket")} == set()


def test_expressions_are_balanced():
    for place, text in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert text.count(opening) == text.count(closing), place


def test_what_an_alert_says_of_a_series_is_one_of_its_labels():
    for alert in alerts():
        told = set(re.findall(r"\$labels\.([a-z_]+)", alert["summary"]))
        grouped = {
            word.strip() for group in re.findall(r"\bby \(([^)]*)\)", alert["expr"]) for word in group.split(",")
        }
        assert told <= grouped, alert["name"]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    page = (ROOT / "docs" / "guides" / "runbooks.md").read_text()
    assert re.findall(r"^## (Headrace\w+)$", page, re.MULTILINE) == [alert["name"] for alert in alerts()]


def test_rules_link_to_their_runbooks_and_look_at_their_own_namespace(render):
    [rule] = render({"metrics": {"rules": {"enabled": True, "labels": {"release": "prom"}}}}).all("PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prom"
    [group] = rule["spec"]["groups"]
    assert [one["alert"] for one in group["rules"]] == [alert["name"] for alert in alerts()]
    for one in group["rules"]:
        assert one["annotations"]["runbook_url"].endswith(f"docs/guides/runbooks.md#{one['alert'].lower()}")
        assert 'namespace="platform"' in one["expr"]
        assert "NAMESPACE" not in one["expr"]


def test_dashboards_come_as_configmaps(render):
    made = render({"metrics": {"dashboards": {"enabled": True}}})
    boards = [one for one in made.all("ConfigMap") if "grafana_dashboard" in one["metadata"]["labels"]]
    assert len(boards) == len(list((CHART / "files" / "dashboards").glob("*.json"))) >= 4
    for board in boards:
        [text] = board["data"].values()
        assert json.loads(text)["panels"]


@pytest.mark.parametrize("runtime", ["process", "ray"])
def test_the_monitor_asks_every_pod_that_has_metrics(render, runtime):
    made = render({"runtime": runtime, "metrics": {"podMonitor": {"enabled": True}}})
    [monitor] = made.all("PodMonitor")
    asked = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    numbers = set()
    for pod in made.pods().values():
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        for container in pod["spec"]["containers"]:
            numbers |= {port["containerPort"] for port in container.get("ports", ()) if port["name"] in asked}
    assert numbers == {7802, 7812, 7822, 7832, 7842, 7852, 7872}


def test_without_an_operator_pods_can_be_annotated(render):
    pods = render({"metrics": {"scrapeAnnotations": True}}).pods()
    assert pods["Deployment/headrace-tracing"]["metadata"]["annotations"]["prometheus.io/port"] == "7842"
    assert pods["Deployment/headrace-triton-default"]["metadata"]["annotations"]["prometheus.io/port"] == "7872"
