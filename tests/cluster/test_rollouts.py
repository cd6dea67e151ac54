"""A model's canary by a change of the chart's values: no pod is restarted for it."""

from __future__ import annotations

from collections import Counter

from ruamel.yaml import YAML

from tests.cluster.kube import wait
from tests.cluster.release import CHART


def config(rollouts):
    """The config for trying out, with rollouts, and a candidate that is as good as the baseline."""
    base = YAML(typ="safe").load((CHART / "files" / "headrace.yaml").read_text())
    deployments = {**base["deployments"], "scripted-v2": base["deployments"]["scripted"]}
    return {"config": {**base, "deployments": deployments, "rollouts": rollouts}}


def arms(release, client, calls=24):
    """Deployments that answered, over so many people."""
    found = Counter()
    for number in range(calls):
        body = {
            "model": "scripted",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 4,
            "user": f"person-{number}",
        }
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        found[answer.headers["x-headrace-deployment"]] += 1
    return found


def pods(release):
    """Who runs, and how often each was started."""
    listed = release.kube.get("pods", "-l", "app.kubernetes.io/component in (gateway,inference,rollout)")["items"]
    return {
        pod["metadata"]["name"]: [one["restartCount"] for one in pod["status"].get("containerStatuses", [])]
        for pod in listed
    }


def test_a_canary_begins_is_promoted_and_ends_by_values(process, measured):
    before = pods(process)
    with process.http() as client:
        assert set(arms(process, client)) == {"scripted"}
        half = {
            "candidate": {"deployment": "scripted-v2"},
            "steps": [{"weight": "50%", "at_least": "1h"}, {"weight": "100%"}],
        }
        process.helm("upgrade", values=config({"scripted": half}))
        # each gateway hears of it by itself: of 24 people 3 or fewer are on an arm of half of them once in 7,000 times
        split = wait(
            "both arms",
            lambda: min((found := arms(process, client))["scripted"], found["scripted-v2"]) > 3 and found,
            300,
        )
        whole = {"candidate": {"deployment": "scripted-v2"}, "steps": [{"weight": "100%"}]}
        process.helm("upgrade", values=config({"scripted": whole}))
        wait("the candidate alone", lambda: set(arms(process, client)) == {"scripted-v2"}, 300)
        process.helm("upgrade", values=config({}))
        wait("the baseline alone", lambda: set(arms(process, client)) == {"scripted"}, 300)
    assert pods(process) == before
    measured.append(f"canary by values at 50%: {dict(split)}; no pod was restarted")
