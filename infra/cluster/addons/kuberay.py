"""The KubeRay operator."""

from __future__ import annotations

from infra.cluster import builds, recipes
from infra.cluster.addons.parts import MANIFESTS, apply, image, wait
from infra.cluster.places import Places

IMAGE = f"localhost/kuberay-operator:{recipes.KUBERAY}"


def install(places: Places) -> None:
    """Install the operator and its definitions."""
    builds.ensure(places, "kuberay")
    built = builds.current(places, "kuberay")
    recipe = 'FROM scratch\nCOPY kuberay-operator /manager\nENTRYPOINT ["/manager"]\n'
    image(places, IMAGE, recipe, built / "kuberay-operator")
    apply(places, "--server-side", "-f", str(built / "crds"))
    apply(places, "-f", "-", stdin=(MANIFESTS / "kuberay.yaml").read_text().replace("__IMAGE__", IMAGE))
    wait(places, "kuberay-operator", "deploy/kuberay-operator")
