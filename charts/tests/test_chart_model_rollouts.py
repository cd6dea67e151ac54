"""The CustomResourceDefinition of `ModelRollout`, and what following it takes."""

from __future__ import annotations

import kubernetes_validate
import pytest

from headrace_kit.config.rollouts import Rollout

NAME = "modelrollouts.headrace.dev"


@pytest.fixture(scope="module")
def definition(render):
    return render().one("CustomResourceDefinition", NAME)


def schema(definition):
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def parts(tree, path=""):
    """Every schema in a schema, with its path."""
    yield path, tree
    for name, one in tree.get("properties", {}).items():
        yield from parts(one, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in tree:
            yield from parts(tree[key], f"{path}.{key}")


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_it_is_valid(definition, version):
    kubernetes_validate.validate(definition, version, strict=True)


def test_its_schema_is_structural(definition):
    for path, one in parts({"type": "object", "properties": schema(definition)}):
        assert "type" in one or one.get("x-kubernetes-int-or-string"), path
        assert not one.keys() & {"$ref", "$defs", "anyOf", "oneOf", "const", "patternProperties", "default"}, path
        assert not ("properties" in one and "additionalProperties" in one), path


def test_it_has_each_key_of_a_rollout_in_the_config(definition):
    keys = schema(definition)["spec"]["properties"].keys()
    assert keys == {"model", "queue", *Rollout.model_fields}


def test_what_cel_reads_has_bounds(definition):
    for path, one in parts(schema(definition)["spec"]):
        if "x-kubernetes-validations" in one and one["type"] == "array":
            assert one["maxItems"], path
    step = schema(definition)["spec"]["properties"]["steps"]["items"]["properties"]
    assert step["weight"]["maxLength"]


def test_it_stays_when_the_release_goes(definition):
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_it_can_be_somebody_elses(render):
    made = render({"modelRollouts": {"crd": False}})
    assert not made.all("CustomResourceDefinition")
    assert made.one("Role", "headrace-rollout")


def test_without_it_nothing_of_it_is_there(render):
    made = render({"modelRollouts": {"enabled": False}})
    assert not made.all("CustomResourceDefinition")
    assert not made.all("Lease")
    assert "model_rollouts" not in made.one("ConfigMap", "headrace-config")["data"]["headrace.yaml"]


def test_the_service_may_do_with_resources_what_it_does_and_no_more(render):
    rules = render().one("Role", "headrace-rollout")["rules"]
    assert {(one["apiGroups"][0], tuple(one["resources"]), tuple(one["verbs"])) for one in rules} == {
        ("headrace.dev", ("modelrollouts",), ("get", "list", "watch", "patch")),
        ("headrace.dev", ("modelrollouts/status",), ("patch",)),
        ("", ("events",), ("create",)),
        ("coordination.k8s.io", ("leases",), ("get", "update")),
    }


@pytest.mark.parametrize(
    ("values", "followed"),
    [({"runtime": "ray"}, True), ({"runtime": "ray", "ray": {"autoscaling": {"enabled": True}}}, False)],
    ids=["ray", "scaled ray"],
)
def test_on_ray_its_head_has_the_account_unless_kuberay_gives_it_one(render, values, followed):
    made = render(values)
    head = made.pods()["RayService/headrace-ray/head"]["spec"]
    assert (head.get("serviceAccountName") == "headrace-rollout") == followed
    assert bool(head.get("automountServiceAccountToken")) == followed
    assert ("headrace-rollout" in made.names("Role")) == followed
