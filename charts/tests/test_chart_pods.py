"""What every pod of the chart has, and what single services get."""

from __future__ import annotations

import pytest

from headrace_kit.config import parse
from headrace_kit.config.ports import OFFSETS, SERVICES
from headrace_kit.hosting.process import LONGER_S


def containers(pod):
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_every_pod_passes_the_restricted_standard(render):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    for name, pod in render().pods().items():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
        for volume in spec.get("volumes", ()):
            assert volume.keys() - {"name"} <= allowed | {"secret"}, name
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert not any("hostPort" in port for port in container.get("ports", ())), name


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, ["Deployment/headrace-rollout", "Job/headrace-resources", "Job/headrace-secrets"]),
        ({"modelRollouts": {"enabled": False}}, ["Job/headrace-secrets"]),
    ],
    ids=["with resources", "without"],
)
def test_no_pod_gets_a_token_of_the_api_server_that_does_not_call_it(render, values, wanted):
    able = [name for name, pod in render(values).pods().items() if pod["spec"]["automountServiceAccountToken"]]
    assert sorted(able) == wanted


def test_every_container_states_what_it_needs(render):
    for name, pod in render().pods().items():
        for container in containers(pod):
            resources = container["resources"]
            assert resources["requests"].keys() >= {"cpu", "memory"}, (name, container["name"])
            assert "memory" in resources["limits"], (name, container["name"])


def test_volumes_and_mounts_belong_together(render):
    for name, pod in render().pods().items():
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", ())}
        if name.startswith("StatefulSet/"):
            volumes.add("data")
        for container in containers(pod):
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= volumes, (name, container["name"])
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert len(set(paths)) == len(paths), (name, container["name"])


def test_services_listen_where_the_kit_says_and_are_found_there(render):
    made = render()
    config = parse(made.one("ConfigMap", "headrace-config")["data"]["headrace.yaml"])
    for service in SERVICES:
        ports = {port["name"]: port["port"] for port in made.one("Service", f"headrace-{service}")["spec"]["ports"]}
        expected = {key.partition("-")[2]: 7800 + offset for key, offset in OFFSETS.items() if key.startswith(service)}
        expected.pop("console", None)
        assert ports == expected
        assert getattr(config.services, service).address == f"headrace-{service}:{ports['grpc']}"
    assert config.telemetry.otlp_address == "headrace-tracing:7843" and config.telemetry.own_receiver
    assert config.services.inference.triton_address == "headrace-triton-default:7871"
    assert config.services.inference.triton_metrics_address == "headrace-triton-default:7872"


def test_each_service_gets_the_secrets_that_it_reads_and_no_others(render):
    pods = render().pods()

    def files(kind: str, service: str) -> set[str]:
        [volume] = [one for one in pods[f"{kind}/headrace-{service}"]["spec"]["volumes"] if one["name"] == "secrets"]
        return {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}

    own = {service: {f"signing/{service}.pem", "signing/jwks.json"} for service in SERVICES}
    assert files("Deployment", "inference") == own["inference"]
    assert files("Deployment", "guardrails") == own["guardrails"] | {"postgres-dsn", "valkey-url", "guardrails-key"}
    assert files("Deployment", "retrieval") == own["retrieval"] | {"postgres-dsn"}
    assert files("Deployment", "tracing") == own["tracing"] | {"postgres-dsn", "tracing-key"}
    assert files("Deployment", "rollout") == own["rollout"] | {"postgres-dsn", "valkey-url"}
    assert files("StatefulSet", "gateway") == own["gateway"] | {"postgres-dsn", "valkey-url", "bootstrap-admin-key"}


def test_a_change_of_the_config_changes_no_pod(render):
    before, after = render(), render({"configFile": "tenants: {other: {}}\n"})
    assert before.one("ConfigMap", "headrace-config") != after.one("ConfigMap", "headrace-config")
    assert before.pods() == after.pods()


def test_no_secret_stands_in_what_is_applied(render):
    assert not render().all("Secret")


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_is_given_the_time_that_it_needs_to_end(render, service):
    kind = "StatefulSet" if service == "gateway" else "Deployment"
    drain = {"services": {service: {"drain_s": 100}}}
    spec = render({"config": drain, "pods": {"lingerSeconds": 7}}).pods()[f"{kind}/headrace-{service}"]["spec"]
    last_words_and_spans_s = 30
    assert spec["terminationGracePeriodSeconds"] >= 7 + LONGER_S + 100 + last_words_and_spans_s
    assert {"name": "HEADRACE_LINGER_S", "value": "7"} in spec["containers"][0]["env"]


def test_deployments_never_have_fewer_pods_than_asked_for(render):
    for deployment in render().all("Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_a_gateway_without_a_volume_is_a_deployment(render):
    made = render({"gateway": {"eventLog": {"persistent": False}, "replicas": 1}})
    assert made.names("StatefulSet") == ["headrace-postgres", "headrace-valkey"]
    spec = made.one("Deployment", "headrace-gateway")["spec"]
    assert {"name": "data", "emptyDir": {}} in spec["template"]["spec"]["volumes"]
