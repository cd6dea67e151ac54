"""The guide's way to list images finds all that pods run."""

from __future__ import annotations

import re
import subprocess

import pytest

from charts.tests.conftest import HELM, ROOT

GUIDE = ROOT / "docs" / "guides" / "air-gapped.md"
DIGEST = "sha256:" + "a" * 64
VALUES = {
    "process": {},
    "digests": {"image": {"registry": "r.example.com", "digests": {"gateway": DIGEST}}},
    "own model server": {"tritons": {"default": {}, "chat": {"deployments": ["scripted"], "image": "nvcr.io/t:26.10"}}},
    "ray": {"runtime": "ray"},
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_listed_images_are_those_of_the_pods(render, tmp_path, values):
    import yaml

    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    (command,) = re.findall(r"^helm template .*$", GUIDE.read_text(), re.MULTILINE)
    command = command.replace("helm template", f"{HELM} template --api-versions ray.io/v1/RayService", 1)
    command = command.replace("charts/headrace", str(ROOT / "charts/headrace"))
    listed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    pods = render(values).pods().values()
    used = {
        one["image"] for pod in pods for one in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    }
    assert len(used) >= 5
    assert set(listed.stdout.split()) == used
