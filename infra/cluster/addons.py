"""What headrace works with on Kubernetes, built from packages and installed into the cluster: the KubeRay operator,
and Envoy Gateway with the Gateway API.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.cluster import builds, cluster, images
from infra.cluster.places import Places
from infra.cluster.progress import step

MANIFESTS = Path(__file__).parent / "manifests"
KUBERAY_IMAGE = f"localhost/kuberay-operator:{builds.KUBERAY}"
GATEWAY_IMAGE, ENVOY_IMAGE = f"localhost/envoy-gateway:{builds.ENVOY_GATEWAY}", f"localhost/envoy:{builds.ENVOY}"


def install(places: Places, name: str) -> None:
    """Build an add-on, install it, and return when it is ready. What is there already is left as it is."""
    with step(f"add-on {name}"):
        ADDONS[name](places)


def _kuberay(places: Places) -> None:
    builds.ensure(places, "kuberay")
    built = builds.current(places, "kuberay")
    recipe = 'FROM scratch\nCOPY kuberay-operator /manager\nENTRYPOINT ["/manager"]\n'
    _image(places, KUBERAY_IMAGE, recipe, built / "kuberay-operator")
    _apply(places, "--server-side", "-f", str(built / "crds"))
    manifest = (MANIFESTS / "kuberay.yaml").read_text().replace("__IMAGE__", KUBERAY_IMAGE)
    _apply(places, "-f", "-", stdin=manifest)
    _wait(places, "kuberay-operator", "deploy/kuberay-operator")


def _gateway(places: Places) -> None:
    builds.ensure(places, "envoy-gateway", "envoy")
    built, envoy = builds.current(places, "envoy-gateway"), builds.current(places, "envoy")
    # the controller writes below /var/lib/eg
    controller = (
        f"FROM {images.PYTHON}\nCOPY envoy-gateway /usr/local/bin/envoy-gateway\n"
        "RUN mkdir -p /var/lib/eg && chmod 1777 /var/lib/eg\nUSER 65532\n"
        'ENTRYPOINT ["/usr/local/bin/envoy-gateway"]\n'
    )
    proxy = f'FROM {images.PYTHON}\nCOPY envoy /usr/local/bin/envoy\nUSER 65532\nENTRYPOINT ["/usr/local/bin/envoy"]\n'
    _image(places, GATEWAY_IMAGE, controller, built / "envoy-gateway")
    _image(places, ENVOY_IMAGE, proxy, envoy / "envoy")
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder, "gateway-helm")
        shutil.copytree(built / "chart", chart)
        (chart / "values.yaml").write_text(chart_values((chart / "values.tmpl.yaml").read_text()))
        values = (MANIFESTS / "envoy-gateway-values.yaml").read_text()
        values = values.replace("__GATEWAY__", GATEWAY_IMAGE).replace("__ENVOY__", ENVOY_IMAGE)
        Path(folder, "values.yaml").write_text(values)
        command = [
            *(
                str(places.bin / "helm"),
                "upgrade",
                "--install",
                "eg",
                str(chart),
                "--namespace",
                "envoy-gateway-system",
            ),
            *("--create-namespace", "--values", str(Path(folder, "values.yaml")), "--wait", "--timeout", "180s"),
            *("--kubeconfig", str(places.kubeconfig)),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    manifest = (MANIFESTS / "gateway-class.yaml").read_text().replace("__ENVOY__", ENVOY_IMAGE)
    _apply(places, "-f", "-", stdin=manifest)


def chart_values(template: str) -> str:
    """Values of Envoy Gateway's chart out of its template, in which a release fills in image and pull policy."""
    filled = template.replace("${GatewayImage}", GATEWAY_IMAGE).replace("${GatewayImagePullPolicy}", "IfNotPresent")
    lines = []
    for line in filled.splitlines():
        start = line.find("${")
        lines.append(line if start < 0 else line[:start] + line[line.index("}", start) + 1 :])
    return "\n".join(lines) + "\n"


def _image(places: Places, reference: str, recipe: str, *programs: Path) -> None:
    used = images.engine()
    images.ensure_python(used)
    images.of_program(places, used, reference, recipe, programs)
    images.load(places, images.archive(places, reference))


def _apply(places: Places, *words: str, stdin: str | None = None) -> None:
    done = cluster.kubectl(places, "apply", *words, stdin=stdin)
    if done.returncode != 0:
        raise cluster.CannotRun(f"kubectl apply {' '.join(words)}: {done.stderr.strip()}")


def _wait(places: Places, namespace: str, what: str) -> None:
    done = cluster.kubectl(places, "-n", namespace, "rollout", "status", what, "--timeout=120s")
    if done.returncode != 0:
        raise cluster.CannotRun(f"{what} is not ready: {done.stderr.strip()}")


ADDONS = {"kuberay": _kuberay, "gateway": _gateway}
"""By name."""
