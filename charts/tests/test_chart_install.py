"""Hooks, stores, secrets: what happens at install and upgrade."""

from __future__ import annotations

import pytest

from headrace_kit.config import parse


def hooks(made):
    return {
        document["metadata"]["name"]: document["metadata"]["annotations"]["helm.sh/hook"]
        for document in made.all("Job")
        if "helm.sh/hook" in document["metadata"].get("annotations", {})
    }


def test_the_trial_config_is_the_local_platforms_without_its_large_model(render):
    config = parse(render().one("ConfigMap", "headrace-config")["data"]["headrace.yaml"])
    assert set(config.models) == {"assistant", "small", "scripted", "minilm", "reranker"}


def test_the_config_is_checked_before_anything_changes(render):
    made = render({"config": {"models": {"a": {"deployment": "nope"}}}})
    job = made.one("Job", "headrace-config-check")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["backoffLimit"] == 0
    checked = made.one("ConfigMap", "headrace-config-check")
    assert checked["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert checked["data"] == made.one("ConfigMap", "headrace-config")["data"]


def test_your_own_addresses_win(render):
    config = {"services": {"tracing": {"address": "tracing.other:1"}}, "telemetry": {"otlp_address": "collector:4317"}}
    made = parse(render({"config": config}).one("ConfigMap", "headrace-config")["data"]["headrace.yaml"])
    assert made.services.tracing.address == "tracing.other:1"
    assert made.telemetry.otlp_address == "collector:4317" and made.telemetry.own_receiver is False
    assert made.services.rollout.address == "headrace-rollout:7850"


def test_the_schema_is_made_beside_the_database_that_comes_with_it(render):
    made = render()
    job = made.one("Job", "headrace-migrate-1")["spec"]["template"]["spec"]
    assert [one["name"] for one in job["initContainers"]] == ["database"]
    assert job["volumes"][1]["configMap"]["name"] == "headrace-config"
    assert sorted(hooks(made)) == ["headrace-config-check", "headrace-resources", "headrace-secrets"]


def test_an_upgrade_migrates_before_new_pods_start(render):
    made = render(upgrade=True)
    assert hooks(made)["headrace-migrate"] == "pre-install,pre-upgrade"
    assert made.one("Job", "headrace-migrate")["spec"]["template"]["spec"]["volumes"][1]["configMap"]["name"] == (
        "headrace-config-check"
    )


def test_stores_of_yours_are_read_from_your_secrets(render):
    made = render({"postgres": {"existingSecret": "pg"}, "valkey": {"existingSecret": "vk"}})
    assert made.names("StatefulSet") == ["headrace-gateway"]
    assert "headrace-migrate" in hooks(made), "an unreachable database fails the install before anything is made"
    job = made.one("Job", "headrace-migrate")["spec"]["template"]["spec"]
    assert "initContainers" not in job, "roles and extension are yours to make"
    [secrets] = [one for one in job["volumes"] if one["name"] == "secrets"]
    assert secrets["projected"]["sources"] == [
        {"secret": {"name": "pg", "items": [{"key": "postgres-admin-dsn", "path": "postgres-admin-dsn"}]}}
    ]


def test_with_all_secrets_given_none_is_made(render):
    made = render(
        {
            "postgres": {"existingSecret": "pg"},
            "valkey": {"existingSecret": "vk"},
            "secrets": {"admin": "keys", "signing": "signing", "extra": ["providers"]},
        }
    )
    assert "headrace-secrets" not in made.names("Job")
    assert "headrace-secrets" not in made.names("Role")
    [volume] = [
        one for one in made.pods()["StatefulSet/headrace-gateway"]["spec"]["volumes"] if one["name"] == "secrets"
    ]
    assert [source["secret"]["name"] for source in volume["projected"]["sources"]] == [
        "signing", "pg", "vk", "keys", "providers",
    ]  # fmt: skip


def test_the_job_that_makes_secrets_may_do_no_more(render):
    assert render().one("Role", "headrace-secrets")["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["get", "patch"],
            "resourceNames": ["headrace-generated", "headrace-signing"],
        },
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"postgres": {"enabled": False}}, "the services need a PostgreSQL"),
        ({"valkey": {"enabled": False}}, "the gateway needs a Valkey"),
        ({"config": {"models": {}, "tenants": {"a": {}}}, "configFile": "tenants: {}"}, "give one of them"),
        ({"tritons": {"default": {"deployments": ["nope"]}}}, 'tritons.default.deployments: .* no deployment "nope"'),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_before_anything_is_applied(render, values, message):
    with pytest.raises(AssertionError, match=message):
        render(values)


def test_images_by_registry_tag_and_digest(render):
    digest = "sha256:" + "0" * 64
    made = render(
        {
            "image": {
                "registry": "r.example",
                "repository": "team/headrace",
                "tag": "7",
                "digests": {"rollout": digest},
                "pullSecrets": ["pull"],
                "pullPolicy": "Always",
            }
        }
    )
    for name, pod in made.pods().items():
        assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}], name
        for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
            assert container["imagePullPolicy"] == "Always"
            if "postgres" not in name and "valkey" not in name:
                assert container["image"].startswith("r.example/team/headrace/"), name
    rollout = made.pods()["Deployment/headrace-rollout"]["spec"]["containers"][0]
    assert rollout["image"] == f"r.example/team/headrace/rollout@{digest}"
    assert (
        made.pods()["Deployment/headrace-tracing"]["spec"]["containers"][0]["image"]
        == "r.example/team/headrace/tracing:7"
    )
