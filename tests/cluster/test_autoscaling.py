"""Pods that come and go by themselves: by CPU, by requests in work, and a model server that stands until wanted."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from ruamel.yaml import YAML

from infra.cluster.addons.autoscaling import PROMETHEUS
from tests.cluster.kube import wait
from tests.cluster.release import CHART, NAME

SECONDS = 15
"""How long the need must have been lower before pods go, here."""
RARE = {
    "deployments": ["rare"],
    "startupMinutes": 5,
    "resources": {"requests": {"cpu": "20m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
    "keda": {"enabled": True, "prometheus": PROMETHEUS, "minReplicas": 0, "maxReplicas": 1, "scaleDownSeconds": 10},
}


def config():
    """The config for trying out, with a model of a server of its own, whose requests may wait for it."""
    base = YAML(typ="safe").load((CHART / "files" / "headrace.yaml").read_text())
    base["deployments"]["rare"] = base["deployments"]["scripted"]
    base["models"]["rare"] = {"deployment": "rare", "timeout_ms": 300_000, "timeouts": {"first_token": "5m"}}
    # a server with its image and models at hand is there in a few seconds
    base.setdefault("services", {}).setdefault("gateway", {})["stream_keep_alive_s"] = 2
    return base


@pytest.fixture(scope="module")
def scaled(process):
    """The release with what scales its pods."""
    if not all(process.source.addon(name) for name in ("metrics", "keda")):
        pytest.skip("this cluster's owner has to install a metrics server, KEDA and a Prometheus")
    by_cpu = {"enabled": True, "minReplicas": 1, "maxReplicas": 3, "cpuPercent": 80, "scaleDownSeconds": SECONDS}
    by_work = {"enabled": True, "prometheus": PROMETHEUS, "minReplicas": 1, "maxReplicas": 2, "inFlight": 4}
    values = {
        "config": config(),
        "tritons": {"rare": RARE},
        "inference": {"autoscaling": by_cpu},
        "gateway": {"keda": {**by_work, "scaleDownSeconds": SECONDS}},
    }
    process.have(values)
    # the one that stays: what is forwarded to another would be cut off when that goes
    wait("one gateway", lambda: len(process.kube.pods("gateway")) == 1, 180)
    return process


def standing_still(scaled):
    """A server that nobody wants, wanted, and wanted no more; how long who woke it waited, in seconds."""
    none = lambda: not scaled.kube.pods("triton-rare")  # noqa: E731
    body = {"model": "rare", "messages": [{"role": "user", "content": "Good morning."}], "stream": True}
    with scaled.http() as client:
        known = lambda: "rare" in {one["id"] for one in client.get("/v1/models").json()["data"]}  # noqa: E731
        wait("a gateway that knows the model", known, 180)
        wait("no model server", none, 240)
        begun = time.monotonic()
        with client.stream("POST", "/v1/chat/completions", json=body, timeout=300) as answer:
            assert answer.status_code == 200, answer.read()
            lines = [line for line in answer.iter_lines() if line]
        took = time.monotonic() - begun
    comments = [line for line in lines if line.startswith(":")]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]", lines
    chunks = [json.loads(one) for one in data[:-1]]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == "You said: Good morning."
    assert comments, "a proxy would have closed a stream that is silent for so long"
    wait("no model server", none, 240)
    return took


@pytest.fixture(scope="module")
def stood_still(scaled):
    """That, beside the other tests: most of it is waiting."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(standing_still, scaled)


def test_gateways_come_with_requests_in_work_and_go_after(scaled, stood_still, measured):
    script = json.dumps({"tokens": 300, "tokens_per_s": 10})
    turn = {"role": "user", "content": script}
    body = {"model": "scripted", "messages": [turn], "stream": True, "headrace": {"cache": "bypass"}}

    def listen(client: httpx.Client) -> str:
        with client.stream("POST", "/v1/chat/completions", json=body, timeout=180) as answer:
            assert answer.status_code == 200, answer.read()
            return [line for line in answer.iter_lines() if line][-1]

    with scaled.http() as client, ThreadPoolExecutor(10) as pool:
        begun = time.monotonic()
        open_ = [pool.submit(listen, client) for _ in range(10)]
        wait("two gateways", lambda: scaled.kube.ready("gateway") == 2, 120)
        took = time.monotonic() - begun
        assert [one.result(150) for one in open_] == ["data: [DONE]"] * 10
    wait("one gateway", lambda: len(scaled.kube.pods("gateway")) == 1, 180)
    measured.append(f"10 requests in work, 4 a gateway: a second one was ready after {took:.0f} s")


def test_pods_come_with_cpu_and_go_after(scaled, stood_still, measured):
    pods = lambda: len(scaled.kube.pods("inference"))  # noqa: E731
    wait("CPU that is known", lambda: "<unknown>" not in scaled.kube.kubectl("get", "hpa", f"{NAME}-inference"), 120)
    with scaled.load(rate=20, seconds=240) as result:
        wait("more of inference", lambda: scaled.kube.ready("inference") > 1, 180)
    assert result["failed"] == 0, result
    wait("one of inference", lambda: pods() == 1, 240)
    measured.append(f"inference 1 -> more -> 1 by CPU: {result['failed']} of {result['calls']} failed")


def test_a_server_that_stands_still_is_started_for_who_waits_and_stopped_again(stood_still, measured):
    measured.append(f"a model server that stood still answered after {stood_still.result():.0f} s")
