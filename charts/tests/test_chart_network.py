"""The rendered policies, evaluated for every pair of pods: each edge of the design is allowed, all else is denied.

Nothing here enforces policies: what is tested is what they say, by the API's own rules.
"""

from __future__ import annotations

from itertools import product

import pytest

from headrace_kit.config.ports import OFFSETS, SERVICES

GRPC = {service: 7800 + OFFSETS[f"{service}-grpc"] for service in SERVICES}
OTLP = 7800 + OFFSETS["tracing-otlp"]
PUBLIC = (7800, 7801)

DESIGN = {
    # who calls whom
    *(
        ("gateway", service, GRPC[service])
        for service in ("guardrails", "retrieval", "inference", "rollout", "tracing")
    ),
    *((service, "inference", GRPC["inference"]) for service in ("retrieval", "guardrails", "rollout", "tracing")),
    *((service, "tracing", OTLP) for service in SERVICES),
    # the stores and the model server
    *(
        (service, "postgres", 5432)
        for service in ("gateway", "retrieval", "guardrails", "tracing", "rollout", "migrate")
    ),
    *((service, "valkey", 6379) for service in ("gateway", "guardrails", "rollout")),
    ("rollout", "valkey", 6379),
    *(("inference", "triton-default", port) for port in (7871, 7872)),
}
"""Edges between pods; everybody may call the gateway's public ports and, in the cluster, read metrics."""

PORTS = {
    **{name: {7800 + offset for key, offset in OFFSETS.items() if key.startswith(f"{name}-")} for name in SERVICES},
    "postgres": {5432},
    "valkey": {6379},
    "triton-default": {7870, 7871, 7872},
}


class Network:
    """What NetworkPolicies say about connections between pods of one namespace."""

    def __init__(self, policies) -> None:
        self._policies = [policy["spec"] for policy in policies]

    def allows(self, source: dict, target: dict, port: int, protocol: str = "TCP") -> bool:
        """Whether a pod with the labels `source` reaches one with `target`."""
        return self._side("egress", source, target, port, protocol) and self._side(
            "ingress", target, source, port, protocol
        )

    def leaves(self, source: dict, address: str, port: int) -> bool:
        """Whether a pod reaches an address outside of the cluster."""
        return self._side("egress", source, address, port, "TCP")

    def _side(self, side: str, pod: dict, peer: dict | str, port: int, protocol: str) -> bool:
        chosen = [
            spec
            for spec in self._policies
            if _matches(spec["podSelector"], pod) and side.capitalize() in spec["policyTypes"]
        ]
        if not chosen:
            return True
        where = "to" if side == "egress" else "from"
        return any(
            _port(rule.get("ports"), port, protocol) and _peer(rule.get(where), peer)
            for spec in chosen
            for rule in spec.get(side) or ()
        )


def _matches(selector: dict, labels: dict) -> bool:
    assert selector.keys() <= {"matchLabels"}, "the evaluator knows no more"
    return (selector.get("matchLabels") or {}).items() <= labels.items()


def _port(ports, port: int, protocol: str) -> bool:
    return not ports or any(one.get("protocol", "TCP") == protocol and one["port"] == port for one in ports)


def _peer(peers, peer: dict | str) -> bool:
    import ipaddress

    if not peers:
        return True
    for one in peers:
        if isinstance(peer, str) and "ipBlock" in one:
            address, block = ipaddress.ip_address(peer), one["ipBlock"]
            inside = address.version == ipaddress.ip_network(block["cidr"]).version
            inside = inside and address in ipaddress.ip_network(block["cidr"])
            if inside and not any(address in ipaddress.ip_network(cut) for cut in block.get("except", ())):
                return True
        if isinstance(peer, dict) and "ipBlock" not in one:
            # A selector of namespaces alone takes all their pods; all pods here are in one namespace.
            assert one.get("namespaceSelector", {}) == {}, "the evaluator knows no more"
            if "podSelector" not in one or _matches(one["podSelector"], peer):
                return True
    return False


def labels(component: str) -> dict:
    return {
        "app.kubernetes.io/name": "headrace",
        "app.kubernetes.io/instance": "headrace",
        "app.kubernetes.io/component": component,
    }


STRANGER = {"app": "somebody-else"}


@pytest.fixture(scope="module")
def network(render):
    return Network(render().all("NetworkPolicy"))


def test_each_edge_of_the_design_is_allowed(network):
    assert [edge for edge in DESIGN if not network.allows(labels(edge[0]), labels(edge[1]), edge[2])] == []


def test_rollout_and_tracing_call_the_public_api(network):
    for service, port in product(("rollout", "tracing", "test"), PUBLIC):
        assert network.allows(labels(service), labels("gateway"), port)


def test_all_else_between_our_pods_is_denied(network):
    sources = [*SERVICES, "postgres", "valkey", "triton-default", "migrate", "secrets", "config-check", "test"]
    calls_the_gateway = {"rollout", "tracing", "test"}
    for source, (target, ports) in product(sources, PORTS.items()):
        for port in ports:
            wanted = (source, target, port) in DESIGN
            wanted = wanted or (target == "gateway" and port in PUBLIC and source in calls_the_gateway)
            assert network.allows(labels(source), labels(target), port) == wanted, (source, target, port)


def test_strangers_reach_the_public_ports_and_metrics_alone(network):
    ops = {service: 7800 + OFFSETS[f"{service}-ops"] for service in SERVICES} | {"triton-default": 7872}
    for target, ports in PORTS.items():
        for port in ports:
            wanted = (target == "gateway" and port in PUBLIC) or ops.get(target) == port
            assert network.allows(STRANGER, labels(target), port) == wanted, (target, port)


def test_clients_and_readers_of_metrics_can_be_named(render):
    one = [{"podSelector": {"matchLabels": {"app": "proxy"}}}]
    network = Network(render({"networkPolicy": {"clients": one, "metrics": one}}).all("NetworkPolicy"))
    for port in (*PUBLIC, 7802):
        assert network.allows({"app": "proxy"}, labels("gateway"), port)
        assert not network.allows(STRANGER, labels("gateway"), port)


def test_every_pod_is_under_a_policy(render, network):
    for name, pod in render().pods().items():
        assert not network.allows(pod["metadata"]["labels"], STRANGER, 4321), name
        assert not network.allows(STRANGER, pod["metadata"]["labels"], 4321), name


def test_all_look_names_up(render, network):
    for name, pod in render().pods().items():
        assert network._side("egress", pod["metadata"]["labels"], {"k8s-app": "kube-dns"}, 53, "UDP"), name


def test_the_internet_is_for_models_and_private_networks_are_for_nobody(network):
    for component in (*SERVICES, "triton-default", "postgres", "valkey", "migrate", "test"):
        wanted = component in ("gateway", "inference", "triton-default", "rollout")
        assert network.leaves(labels(component), "93.184.216.34", 443) == wanted, component
        # Kubernetes' API server has an address that nobody knows before, and no labels.
        assert network.leaves(labels(component), "10.1.2.3", 443) == (component == "rollout"), component
        assert not network.leaves(labels(component), "169.254.169.254", 80), component


def test_the_api_server_is_for_those_who_call_it(render, network):
    for component in ("secrets", "resources", "rollout"):
        assert network.leaves(labels(component), "10.96.0.1", 443), component
    assert not network.leaves(labels("config-check"), "10.96.0.1", 443)
    there = {"networkPolicy": {"apiServer": [{"ipBlock": {"cidr": "10.96.0.1/32"}}]}}
    network = Network(render(there).all("NetworkPolicy"))
    for component in ("secrets", "resources", "rollout"):
        assert network.leaves(labels(component), "10.96.0.1", 443), component
        assert not network.leaves(labels(component), "10.1.2.3", 443), component
    without = Network(render({"modelRollouts": {"enabled": False}}).all("NetworkPolicy"))
    assert not without.leaves(labels("rollout"), "10.96.0.1", 443)


def test_stores_of_yours_are_reached_by_those_who_need_them(render):
    values = {
        "postgres": {"existingSecret": "pg"},
        "valkey": {"existingSecret": "vk"},
        "networkPolicy": {"stores": {"valkey": {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}], "ports": [6380]}}},
    }
    network = Network(render(values).all("NetworkPolicy"))
    for component in ("gateway", "retrieval", "guardrails", "tracing", "rollout", "migrate"):
        assert network.leaves(labels(component), "10.1.2.3", 5432)
    assert not network.leaves(labels("inference"), "10.1.2.3", 5432)
    assert network.leaves(labels("gateway"), "10.9.2.3", 6380)
    assert not network.leaves(labels("gateway"), "10.8.2.3", 6380)


def test_on_ray_the_six_are_one(render):
    network = Network(render({"runtime": "ray"}).all("NetworkPolicy"))
    ray = labels("ray")
    assert network.allows(ray, ray, 10002), "Ray's processes talk on ports of their choice"
    for target, port in (("postgres", 5432), ("valkey", 6379), ("triton-default", 7871)):
        assert network.allows(ray, labels(target), port)
    assert network.allows(STRANGER, ray, 7800)
    assert not network.allows(STRANGER, ray, 7810)
    assert not network.allows(STRANGER, labels("postgres"), 5432)


def test_it_can_be_off(render):
    assert not render({"networkPolicy": {"enabled": False}}).all("NetworkPolicy")


def test_a_canary_of_the_gateway_may_call_what_the_gateway_may(render):
    made = render(
        {
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
            "gateway": {"canary": {"enabled": True, "tag": "9.9.9"}},
            "modelRollouts": {"enabled": False},
        }
    )
    network = Network(made.all("NetworkPolicy"))
    for source, target, port in DESIGN:
        assert network.allows(labels(source), labels(target), port), "of others nothing has changed"
        if source == "gateway":
            assert network.allows(labels("gateway-canary"), labels(target), port)
    for port in (7800, 7801):
        assert network.allows({"app": "proxy"}, labels("gateway-canary"), port)
    assert not network.allows(labels("gateway-canary"), labels("triton-default"), 7871)
    assert not network.allows({"app": "proxy"}, labels("gateway-canary"), 9999)
    assert network.leaves(labels("rollout"), "10.0.0.1", 6443), "the API server, for the routes"


def test_a_canary_of_guardrails_may_do_what_guardrails_may_and_no_more(render):
    canary = {"guardrails": {"canary": {"enabled": True, "tag": "9.9.9"}}, "modelRollouts": {"enabled": False}}
    network = Network(render(canary).all("NetworkPolicy"))
    for source, target, port in DESIGN:
        assert network.allows(labels(source), labels(target), port), "of others nothing has changed"
        if source == "guardrails":
            assert network.allows(labels("guardrails-canary"), labels(target), port)
    second = labels("guardrails-canary")
    for source in SERVICES:
        assert network.allows(labels(source), second, 7830) == (source == "gateway"), source
    assert network.allows(STRANGER, second, 7832), "metrics"
    assert not network.allows(STRANGER, second, 7830)
    for port in (7800, 7801):
        assert not network.allows(STRANGER, second, port)
    assert not network.leaves(second, "93.184.216.34", 443)
    assert network.leaves(labels("rollout"), "10.0.0.1", 6443), "the API server, for the pods"
