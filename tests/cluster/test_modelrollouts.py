"""A model's canary by a `ModelRollout` resource, as kubectl shows it and as people act on it."""

from __future__ import annotations

import json

import pytest

from tests.cluster.kube import KubeError, wait
from tests.cluster.test_rollouts import arms, config, pods

# Other times than in the part `rollouts`: a rollout that has ended never runs again.
HALF = [{"weight": "50%", "at_least": "90m"}, {"weight": "100%"}]


def resource(name, steps, **spec):
    candidate = spec.pop("candidate", {"deployment": "scripted-v2"})
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": name},
        "spec": {"model": "scripted", "candidate": candidate, "steps": steps, **spec},
    }


@pytest.fixture(scope="module")
def with_second(process):
    """The release with a second deployment."""
    process.have(config({}))
    return process


@pytest.fixture
def release(with_second):
    """That release, with no resources before or after."""
    with_second.kube.kubectl("delete", "modelrollouts", "--all", "--timeout=60s")
    yield with_second
    with_second.kube.kubectl("delete", "modelrollouts", "--all", "--timeout=60s", check=False)


def phase(release, name, wanted, seconds=60):
    """Wait until a resource is in a phase; returns its status."""

    def found():
        status = release.kube.get("modelrollout", name).get("status") or {}
        return status if status.get("phase") == wanted else None

    return wait(f"{name} {wanted}", found, seconds)


def test_a_canary_by_resource_is_promoted_and_another_is_rolled_back(release, measured):
    before = pods(release)
    with release.http() as client:
        wait("the baseline alone", lambda: set(arms(release, client)) == {"scripted"}, 120)
        release.kube.apply(resource("good", HALF))
        assert phase(release, "good", "Running")["weight"] == "50%"
        split = wait(
            "both arms",
            lambda: min((found := arms(release, client))["scripted"], found["scripted-v2"]) > 3 and found,
            120,
        )
        table = release.kube.kubectl("get", "modelrollouts")
        assert table.splitlines()[0].split() == ["NAME", "MODEL", "PHASE", "STEP", "WEIGHT", "METRICS", "AGE"]
        assert "Running" in table
        release.kube.kubectl("annotate", "modelrollout", "good", "headrace.dev/promote=true")
        release.kube.kubectl("wait", "--for=condition=Ready", "modelrollout/good", "--timeout=60s")
        wait("the candidate alone", lambda: set(arms(release, client)) == {"scripted-v2"}, 60)
        told = [one["reason"] for one in release.kube.get("events")["items"] if one["involvedObject"]["name"] == "good"]
        assert "Promoted" in told
        # Deleted, it returns when everybody is back on the baseline's grant.
        release.kube.kubectl("delete", "modelrollout", "good", "--timeout=60s")
        wait("the baseline alone", lambda: set(arms(release, client)) == {"scripted"}, 60)
        release.kube.apply(resource("bad", [{"weight": "25%", "at_least": "1h"}, {"weight": "100%"}]))
        phase(release, "bad", "Running")
        release.kube.kubectl("annotate", "modelrollout", "bad", "headrace.dev/abort=wrong tone")
        assert phase(release, "bad", "Aborted")["message"] == "wrong tone"
        wait("the baseline alone", lambda: set(arms(release, client)) == {"scripted"}, 60)
    assert pods(release) == before
    measured.append(f"canary by resource at 50%: {dict(split)}; promoted and aborted by kubectl annotate")


@pytest.mark.parametrize(
    ("steps", "spec", "message"),
    [
        ([{"weight": "50%"}, {"weight": "10%"}, {"weight": "100%"}], {}, "weights of steps must not fall"),
        ([{"weight": "50%"}], {}, "the last step must have weight 100%"),
        ([{"weight": "half"}], {}, "spec.steps[0].weight"),
        ([{"weight": "100%"}], {"analysis": {"alpha": "5%", "latency": {}}}, 'unknown field "spec.analysis.latency"'),
        ([{"weight": "100%"}], {"schedule": {"start": "17:00", "end": "09:00"}}, "start is not before end"),
    ],
    ids=["falling", "not to the end", "no share", "unknown key", "schedule"],
)
def test_the_api_server_refuses_what_cannot_be(release, steps, spec, message):
    with pytest.raises(KubeError) as refused:
        release.kube.kubectl("create", "--filename", "-", stdin=json.dumps(resource("wrong", steps, **spec)))
    assert message in str(refused.value)


def test_what_only_the_config_knows_is_told_in_the_status(release):
    release.kube.apply(resource("lost", [{"weight": "100%"}], candidate={"deployment": "scripted-v3"}))
    status = phase(release, "lost", "Refused")
    assert "scripted-v3" in status["message"]


def test_a_rollout_outlives_its_operator(release):
    release.kube.apply(resource("slow", [{"weight": "40%", "at_least": "1h"}, {"weight": "100%"}]))
    id_ = phase(release, "slow", "Running")["rolloutID"]
    release.kube.kubectl("scale", "deployment/headrace-rollout", "--replicas=0")
    wait("no rollout service", lambda: not release.kube.pods("rollout"), 60)
    with release.http() as client:
        # Unwatched weights lapse with their lease: everybody is on the baseline, and nobody sees an error.
        wait("the baseline alone", lambda: set(arms(release, client)) == {"scripted"}, 60)
    release.kube.kubectl("annotate", "modelrollout", "slow", "headrace.dev/promote=true")
    release.kube.kubectl("scale", "deployment/headrace-rollout", "--replicas=1")
    status = phase(release, "slow", "Promoted", 120)
    assert status["rolloutID"] == id_
    with release.http() as client:
        wait("the candidate alone", lambda: set(arms(release, client)) == {"scripted-v2"}, 60)
