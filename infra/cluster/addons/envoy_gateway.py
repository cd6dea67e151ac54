"""Envoy Gateway, with the Gateway API."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.cluster import builds, images, recipes
from infra.cluster.addons.parts import MANIFESTS, apply, image
from infra.cluster.places import Places

GATEWAY_IMAGE, ENVOY_IMAGE = f"localhost/envoy-gateway:{recipes.ENVOY_GATEWAY}", f"localhost/envoy:{recipes.ENVOY}"


def install(places: Places) -> None:
    """Install the controller, its chart, and a GatewayClass `envoy`."""
    builds.ensure(places, "envoy-gateway", "envoy")
    built, envoy = builds.current(places, "envoy-gateway"), builds.current(places, "envoy")
    # the controller writes below /var/lib/eg
    controller = (
        f"FROM {images.PYTHON}\nCOPY envoy-gateway /usr/local/bin/envoy-gateway\n"
        "RUN mkdir -p /var/lib/eg && chmod 1777 /var/lib/eg\nUSER 65532\n"
        'ENTRYPOINT ["/usr/local/bin/envoy-gateway"]\n'
    )
    proxy = f'FROM {images.PYTHON}\nCOPY envoy /usr/local/bin/envoy\nUSER 65532\nENTRYPOINT ["/usr/local/bin/envoy"]\n'
    image(places, GATEWAY_IMAGE, controller, built / "envoy-gateway")
    image(places, ENVOY_IMAGE, proxy, envoy / "envoy")
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
    apply(places, "-f", "-", stdin=manifest)


def chart_values(template: str) -> str:
    """Values of Envoy Gateway's chart out of its template, in which a release fills in image and pull policy."""
    filled = template.replace("${GatewayImage}", GATEWAY_IMAGE).replace("${GatewayImagePullPolicy}", "IfNotPresent")
    lines = []
    for line in filled.splitlines():
        start = line.find("${")
        lines.append(line if start < 0 else line[:start] + line[line.index("}", start) + 1 :])
    return "\n".join(lines) + "\n"
