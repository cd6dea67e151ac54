"""Scaling, routes, certificates, model servers, Ray: an assertion or two an option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from headrace_kit.config import parse
from headrace_kit.config.ports import SERVICES
from headrace_kit.hosting.ray_app import ApplicationArgs, route_prefix
from headrace_kit.hosting.ray_ready import add_functions

CHART = Path(__file__).parents[1] / "headrace"
ROUTES = {
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["ai.example.com"]},
    "grpcRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    "certificate": {"enabled": True, "dnsNames": ["ai.example.com"], "issuerRef": {"name": "le"}},
    "ingress": {"enabled": True, "host": "ai.example.com", "className": "nginx"},
}


def config_of(made):
    return parse(made.one("ConfigMap", "headrace-config")["data"]["headrace.yaml"])


def test_routes_lead_to_the_gateway(render):
    made = render(ROUTES)
    [http], [grpc] = made.all("HTTPRoute"), made.all("GRPCRoute")
    assert http["spec"]["rules"][0]["backendRefs"] == [{"name": "headrace-gateway", "port": 7800}]
    assert http["spec"]["rules"][0]["timeouts"] == {"request": "0s"}, "a stream is not cut off"
    assert http["spec"]["hostnames"] == ["ai.example.com"]
    assert grpc["spec"]["rules"][0]["backendRefs"] == [{"name": "headrace-gateway", "port": 7801}]
    [ingress], [certificate] = made.all("Ingress"), made.all("Certificate")
    assert ingress["spec"]["tls"] == [{"hosts": ["ai.example.com"], "secretName": "headrace-tls"}]
    assert certificate["spec"]["secretName"] == "headrace-tls"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"runtime": "ray"}, "runtime: ray needs KubeRay's operator"),
        ({"httpRoute": ROUTES["httpRoute"]}, "httpRoute.enabled needs the Gateway API"),
        ({"grpcRoute": ROUTES["grpcRoute"]}, "grpcRoute.enabled needs the Gateway API"),
        ({"certificate": ROUTES["certificate"]}, "certificate.enabled needs cert-manager"),
        ({"metrics": {"podMonitor": {"enabled": True}}}, "metrics.podMonitor.enabled needs the Prometheus operator"),
        ({"metrics": {"rules": {"enabled": True}}}, "metrics.rules.enabled needs the Prometheus operator"),
        ({"gateway": {"keda": {"enabled": True, "prometheus": "http://p"}}}, "gateway.keda.enabled needs KEDA"),
    ],
)
def test_a_missing_kind_is_said_before_anything_is_applied(render, values, what):
    with pytest.raises(AssertionError, match=re.escape(what)):
        render(values, crds=())


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: name the Gateway"),
        ({"ingress": {"enabled": True}}, "ingress.host: give the host name"),
        ({"certificate": {"enabled": True, "dnsNames": ["a.b"]}}, "certificate.issuerRef: name the Issuer"),
        ({"gateway": {"keda": {"enabled": True}}}, "gateway.keda.prometheus: give the address"),
        ({"gateway": {"keda": {"enabled": True, "prometheus": "p"}, "autoscaling": {"enabled": True}}}, "both enabled"),
        ({"tritons": {"a": {}}}, "only one of them can run all"),
    ],
)
def test_half_an_option_is_refused(render, values, what):
    with pytest.raises(AssertionError, match=re.escape(what)):
        render(values)


def test_disruptions_take_one_pod_at_a_time(render):
    made = render()
    assert made.names("PodDisruptionBudget") == sorted(f"headrace-{name}" for name in (*SERVICES, "triton-default"))
    assert {one["spec"]["maxUnavailable"] for one in made.all("PodDisruptionBudget")} == {1}
    assert not render({"podDisruptionBudgets": False}).all("PodDisruptionBudget")


def test_a_scaler_owns_the_number_of_pods(render):
    made = render({"guardrails": {"autoscaling": {"enabled": True, "minReplicas": 3, "cpuPercent": 50}}})
    [scaler] = made.all("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "headrace-guardrails"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 10)
    assert scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert "replicas" not in made.one("Deployment", "headrace-guardrails")["spec"]


def test_keda_scales_on_what_will_be_asked_when_a_server_is_loaded(render):
    keda = {"enabled": True, "prometheus": "http://p:9090", "offered": 20}
    plain = offered(render, keda)
    assert plain.startswith('sum(rate(headrace_inference_arrivals_total{namespace="platform"}[1m])) * (')
    assert "deriv" not in plain
    ahead = offered(render, {**keda, "forecastSeconds": 180, "spare": 2})
    assert "deriv(sum(rate(headrace_inference_arrivals_total" in ahead
    assert "* 180 + sum(headrace_inference_waiting" in ahead
    assert ahead.endswith(" + 40")
    with pytest.raises(AssertionError, match=re.escape("gateway.keda.offered: only model servers have places")):
        render({"gateway": {"keda": keda}})


def offered(render, keda):
    made = render({"tritons": {"default": {"keda": keda}}})
    [trigger] = made.one("ScaledObject", "headrace-triton-default")["spec"]["triggers"]
    assert trigger["metadata"]["threshold"] == "20"
    return trigger["metadata"]["query"]


def test_keda_scales_on_queues_caches_and_work(render):
    keda = {"enabled": True, "prometheus": "http://p:9090"}
    made = render(
        {
            "gateway": {"keda": {**keda, "inFlight": 200}},
            "tritons": {"default": {"keda": {**keda, "queueDepth": 8, "kvCachePercent": 80, "minReplicas": 1}}},
        }
    )
    gateway = made.one("ScaledObject", "headrace-gateway")["spec"]
    assert gateway["scaleTargetRef"]["kind"] == "StatefulSet"
    assert [one["metadata"]["query"] for one in gateway["triggers"]] == [
        'sum(headrace_gateway_in_flight{namespace="platform"})'
    ]
    triton = made.one("ScaledObject", "headrace-triton-default")["spec"]
    assert [one["metadata"]["query"] for one in triton["triggers"]] == [
        'sum(headrace_inference_waiting{namespace="platform"})',
        'max(headrace_inference_kv_cache_used{namespace="platform"}) * 100',
    ]
    assert triton["minReplicaCount"] == 1
    assert "replicas" not in made.one("Deployment", "headrace-triton-default")["spec"]


def test_pods_go_where_they_are_sent(render):
    own = {
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "runtimeClassName": "gvisor",
        "labels": {"team": "ai"},
        "annotations": {"note": "x"},
        "env": [{"name": "A", "value": "b"}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    }
    pods = render({"retrieval": own}).pods()
    pod = pods["Deployment/headrace-retrieval"]
    for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName"):
        assert pod["spec"][key] == own[key]
        assert key not in pods["Deployment/headrace-tracing"]["spec"]
    assert pod["metadata"]["labels"]["team"] == "ai"
    assert pod["metadata"]["annotations"]["note"] == "x"
    container = pod["spec"]["containers"][0]
    assert own["env"][0] in container["env"]
    assert own["volumeMounts"][0] in container["volumeMounts"]
    assert own["volumes"][0] in pod["spec"]["volumes"]


def test_what_all_pods_get_a_service_may_overrule(render):
    pods = render({"pods": {"priorityClassName": "low"}, "gateway": {"priorityClassName": "high"}}).pods()
    assert pods["Deployment/headrace-tracing"]["spec"]["priorityClassName"] == "low"
    assert pods["StatefulSet/headrace-gateway"]["spec"]["priorityClassName"] == "high"


def test_pods_spread_over_nodes_and_zones(render):
    spread = render().pods()["StatefulSet/headrace-gateway"]["spec"]["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert spread[0]["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"


def test_a_model_server_is_told_what_it_runs(render):
    gpu = {
        "deployments": ["scripted"],
        "image": "nvcr.io/nvidia/tritonserver:26.10-vllm-python-py3",
        "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "64Gi"}, "requests": {"cpu": "4", "memory": "32Gi"}},
        "nodeSelector": {"gpu": "h100"},
        "drainSeconds": 90,
        "startupMinutes": 45,
        "args": ["--log-verbose=1"],
    }
    made = render({"tritons": {"gpu": gpu}})
    spec = made.pods()["Deployment/headrace-triton-gpu"]["spec"]
    [init] = spec["initContainers"]
    assert init["command"][-2:] == ["--once", "scripted"]
    triton, follow = spec["containers"]
    assert triton["image"] == gpu["image"]
    assert triton["args"] == ["--exit-timeout-secs=90", "--grpc-max-connection-age=5000", "--log-verbose=1"]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert follow["command"][-1] == "scripted"
    probe = triton["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 45 * 60
    assert spec["terminationGracePeriodSeconds"] > 90
    assert spec["nodeSelector"] == {"gpu": "h100"}


def test_only_model_servers_that_stay_are_found_and_one_that_is_busy_stays(render):
    made = render({})
    service = made.one("Service", "headrace-triton-default")["spec"]
    assert service["clusterIP"] == "None" and not service.get("publishNotReadyAddresses")
    triton = made.pods()["Deployment/headrace-triton-default"]["spec"]["containers"][0]
    readiness, liveness = triton["readinessProbe"], triton["livenessProbe"]
    assert readiness["httpGet"]["path"] == "/v2/health/live", "a model that loads takes no server out of its name"
    patience = [probe["periodSeconds"] * probe["failureThreshold"] for probe in (readiness, liveness)]
    assert patience[0] >= patience[1]
    assert triton["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "15"]


def test_a_model_server_can_be_off(render):
    made = render({"tritons": {"default": {"enabled": False}}})
    assert "headrace-triton-default" not in made.names("Deployment")
    assert config_of(made).services.inference.triton_address is None


def test_the_model_cache_is_yours_or_made_or_none(render):
    def cache(made):
        volumes = made.pods()["Deployment/headrace-triton-default"]["spec"]["volumes"]
        return next(one for one in volumes if one["name"] == "cache")

    made = render({"models": {"cache": {"existingClaim": "weights"}, "offline": True}})
    assert cache(made)["persistentVolumeClaim"] == {"claimName": "weights"}
    assert not made.all("PersistentVolumeClaim")
    container = made.pods()["Deployment/headrace-triton-default"]["spec"]["initContainers"][0]
    assert {"name": "HEADRACE_OFFLINE", "value": "true"} in container["env"]
    assert cache(render())["persistentVolumeClaim"] == {"claimName": "headrace-models"}
    assert cache(render({"models": {"cache": {"size": ""}}}))["emptyDir"] == {}


def test_files_beside_the_config_are_mounted_where_it_names_them(render):
    made = render({"configFiles": {"routers/assistant.router": "AAAA"}})
    [key] = made.one("ConfigMap", "headrace-config")["binaryData"]
    for name in ("StatefulSet/headrace-gateway", "Job/headrace-config-check"):
        [volume] = [one for one in made.pods()[name]["spec"]["volumes"] if one["name"] == "config"]
        assert {"key": key, "path": "routers/assistant.router"} in volume["configMap"]["items"]


class TestRay:
    """`runtime: ray`."""

    def test_one_service_has_all_six_applications(self, render):
        made = render({"runtime": "ray"})
        [service] = made.all("RayService")
        serve = yaml.safe_load(service["spec"]["serveConfigV2"])
        assert [one["name"] for one in serve["applications"]] == list(SERVICES)
        for one in serve["applications"]:
            assert one["route_prefix"] == route_prefix(one["name"])
            assert one["import_path"] == "headrace_kit.hosting.ray_app:application"
            assert ApplicationArgs(**one["args"]).service == one["name"]
            assert [deployment["name"] for deployment in one["deployments"]] == [one["name"]]
        assert serve["grpc_options"]["grpc_servicer_functions"] == add_functions()
        assert (serve["http_options"]["port"], serve["grpc_options"]["port"]) == (7800, 7801)
        serving = service["spec"]["serveService"]
        assert serving["metadata"]["name"] == "headrace-gateway"
        assert serving["spec"]["ports"] == [{"name": "serve", "port": 7800}], "KubeRay leaves out any other"
        assert service["spec"]["upgradeStrategy"] == {"type": "NewCluster"}
        assert not [name for name in made.names("Deployment") if "triton" not in name]
        assert "headrace-gateway" not in made.names("Service"), "KubeRay makes it"

    def test_they_find_each_other_on_their_own_node(self, render):
        config = config_of(render({"runtime": "ray"}))
        assert {getattr(config.services, name).address for name in SERVICES} == {"127.0.0.1:7801"}
        assert config.telemetry.otlp_address == "127.0.0.1:7843"

    def test_the_head_names_its_ports_as_kuberay_wants_them(self, render):
        head = render({"runtime": "ray"}).pods()["RayService/headrace-ray/head"]["spec"]
        ports = {port["name"]: port["containerPort"] for port in head["containers"][0]["ports"]}
        assert (ports["serve"], ports["serve-grpc"]) == (7800, 7801)
        env = {one["name"]: one["value"] for one in head["containers"][0]["env"]}
        assert env["RAY_SERVE_ENABLE_HA_PROXY"] == env["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
        assert [one["name"] for one in head["initContainers"]] == ["schema"]

    def test_grpc_comes_in_by_a_service_of_its_own(self, render):
        route = {"enabled": True, "parentRefs": [{"name": "public"}]}
        made = render({"runtime": "ray", "grpcRoute": route})
        [rule] = made.all("GRPCRoute")[0]["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": "headrace-ray-grpc", "port": 7801}]
        spec = made.one("Service", "headrace-ray-grpc")["spec"]
        assert [port["port"] for port in spec["ports"]] == [7801, 7843]
        labels = made.pods()["RayService/headrace-ray/head"]["metadata"]["labels"]
        assert spec["selector"].pop("ray.io/serve") == "true"
        assert spec["selector"].items() <= labels.items()

    def test_a_cluster_each(self, render):
        made = render({"runtime": "ray", "ray": {"layout": "per-service"}})
        assert made.names("RayService") == sorted(f"headrace-ray-{name}" for name in SERVICES)
        config = config_of(made)
        assert config.services.retrieval.address == "headrace-ray-retrieval-grpc:7801"
        assert config.telemetry.otlp_address == "headrace-ray-tracing-grpc:7843"
        tracing = made.pods()["RayService/headrace-ray-tracing/head"]["spec"]["containers"][0]["ports"]
        assert {"name": "otlp", "containerPort": 7843} in tracing

    def test_one_service_on_ray_the_others_not(self, render):
        made = render({"retrieval": {"runtime": "ray"}})
        assert made.names("RayService") == ["headrace-ray"]
        assert "headrace-retrieval" not in made.names("Deployment")
        config = config_of(made)
        assert config.services.retrieval.address == "headrace-ray-grpc:7801"
        assert config.services.inference.address == "headrace-inference:7810"

    def test_serve_scales_replicas_and_ray_nodes(self, render):
        worker = {"name": "cpu", "replicas": 1, "maxReplicas": 4, "resources": {"limits": {"memory": "4Gi"}}}
        made = render(
            {
                "runtime": "ray",
                "inference": {"autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 6}},
                "ray": {"autoscaling": {"enabled": True}, "workers": [worker]},
            }
        )
        [service] = made.all("RayService")
        applications = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
        [inference] = [one for one in applications if one["name"] == "inference"]
        scaling = inference["deployments"][0]["autoscaling_config"]
        assert (scaling["min_replicas"], scaling["max_replicas"]) == (1, 6)
        cluster = service["spec"]["rayClusterConfig"]
        assert cluster["enableInTreeAutoscaling"] is True
        assert (cluster["workerGroupSpecs"][0]["minReplicas"], cluster["workerGroupSpecs"][0]["maxReplicas"]) == (1, 4)
        assert not made.all("HorizontalPodAutoscaler")

    def test_a_head_that_may_die(self, render):
        ha = {"enabled": True, "redisAddress": "redis:6379", "passwordSecret": {"name": "redis", "key": "password"}}
        [service] = render({"runtime": "ray", "ray": {"highAvailability": ha}}).all("RayService")
        options = service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
        assert options["redisAddress"] == "redis:6379"
        assert options["redisPassword"]["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "password"}
        with pytest.raises(AssertionError, match="give host:port of the Redis"):
            render({"runtime": "ray", "ray": {"highAvailability": {"enabled": True}}})

    def test_its_pods_pass_the_restricted_standard(self, render):
        for name, pod in render({"runtime": "ray"}).pods().items():
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True, name
            for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
                assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


def test_deployments_are_asked_for_where_they_run(render):
    """A server that names deployments runs those; the one that names none runs the rest."""
    config = config_of(render({"tritons": {"gpu": {"deployments": ["small"]}}}))
    small = config.deployments["small"]
    assert (small.triton_address, small.triton_metrics_address) == (
        "headrace-triton-gpu:7871",
        "headrace-triton-gpu:7872",
    )
    assert config.deployments["minilm"].triton_address is None
    assert config.services.inference.triton_address == "headrace-triton-default:7871"


def test_a_model_server_may_be_scaled_to_zero_and_its_deployments_wait_for_it(render):
    rare = {"deployments": ["scripted"], "startupMinutes": 4}
    keda = {"enabled": True, "prometheus": "http://p:9090", "minReplicas": 0, "offered": 20}
    made = render({"tritons": {"default": {}, "rare": {**rare, "keda": keda}}})
    spec = made.one("ScaledObject", "headrace-triton-rare")["spec"]
    assert (spec["minReplicaCount"], spec["pollingInterval"]) == (0, 5)
    first = spec["triggers"][0]["metadata"]
    assert first["query"] == 'max(headrace_inference_wanted{namespace="platform",deployment=~"scripted"})'
    assert (first["threshold"], first["activationThreshold"]) == ("1", "0")
    config = yaml.safe_load(made.one("ConfigMap", "headrace-config")["data"]["headrace.yaml"])
    assert config["deployments"]["scripted"]["wakes_within"] == "4m"

    always = render({"tritons": {"default": {}, "rare": {**rare, "keda": {**keda, "minReplicas": 1}}}})
    config = yaml.safe_load(always.one("ConfigMap", "headrace-config")["data"]["headrace.yaml"])
    assert "wakes_within" not in config["deployments"]["scripted"]
    spec = always.one("ScaledObject", "headrace-triton-rare")["spec"]
    assert len(spec["triggers"]) == 1 and "pollingInterval" not in spec

    with pytest.raises(AssertionError, match="name its `deployments`"):
        render({"tritons": {"default": {"keda": keda}}})
    with pytest.raises(AssertionError, match="minReplicas"):
        render({"gateway": {"keda": {**keda, "minReplicas": 0}}})
