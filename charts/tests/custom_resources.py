"""The schemas of the custom resources that the chart renders, out of the projects' own Go modules.

A module is fetched by its exact version and must have its known checksum. Nothing of it is kept in the repository.
Not checked: CEL rules (`x-kubernetes-validations`), which only an API server evaluates.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Module:
    """A Go module that carries definitions.

    Attributes:
        path: and version, as Go names it.
        checksum: what `go mod download -json` says as `Sum`.
        files: the definitions that we look into, by glob.
    """

    path: str
    checksum: str
    files: str


MODULES = (
    Module(
        "github.com/ray-project/kuberay/ray-operator@v1.5.1",
        "h1:7FJYmB8oM+cnjv1VYCj/TfzRZG4XHvvt5Ayn5pZ5A1c=",
        "config/crd/bases/ray.io_rayservices.yaml",
    ),
    Module(
        "sigs.k8s.io/gateway-api@v1.6.1",
        "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY=",
        "config/crd/standard/*routes.yaml",
    ),
    Module(
        "github.com/kedacore/keda/v2@v2.18.1",
        "h1:h6bRt/IOxxtZpJlHSqhdH/lcInH7Z9obxg/JvWOmGAw=",
        "config/crd/bases/keda.sh_scaledobjects.yaml",
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator@v0.92.1",
        "h1:rHWuFo6SVya4FBSCNg2DCzyc4xAv54zk3eDTzp5mQZc=",
        "jsonnet/prometheus-operator/p*-crd.json",
    ),
    Module(
        "github.com/cert-manager/cert-manager@v1.19.1",
        "h1:Txh8L/nLWTDcb7ZnXuXbTe15BxQnLbLirXmbNk0fGgY=",
        "deploy/crds/cert-manager.io_certificates.yaml",
    ),
    Module(
        "github.com/argoproj/argo-rollouts@v1.8.3",
        "h1:blbtQva4IK9r6gFh+dWkCrLnFdPOWiv9ubQYu36qeaA=",
        "manifests/crds/analysis-template-crd.yaml",
    ),
)


def validate(document: dict[str, Any]) -> None:
    """Hold a custom resource against its definition; unknown keys fail, as under strict field validation.

    Raises:
        jsonschema.ValidationError: it does not fit.
        KeyError: no definition here has its kind and version.
    """
    schema = schemas()[document["apiVersion"], document["kind"]]
    jsonschema.Draft202012Validator(schema).validate(document)


@cache
def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """Strict JSON schemas by API version and kind. Skips the test where there is no Go to fetch modules with."""
    if not shutil.which("go"):
        pytest.skip("the definitions come from Go modules, and Go is not installed")
    found = {}
    for module in MODULES:
        folder = _fetched(module)
        for path in sorted(folder.glob(module.files)):
            for definition in yaml.load_all(path.read_text(), LOADER):
                if definition and definition["kind"] == "CustomResourceDefinition":
                    spec = definition["spec"]
                    for version in spec["versions"]:
                        schema = _strict(version["schema"]["openAPIV3Schema"])
                        schema["properties"]["metadata"] = {"type": "object"}
                        found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def _fetched(module: Module) -> Path:
    with (
        tempfile.TemporaryDirectory() as outside,
        Path(tempfile.gettempdir(), "headrace-go-mod.lock").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["go", "mod", "download", "-json", module.path], cwd=outside, capture_output=True, text=True, check=False
        )
    told = json.loads(done.stdout or "{}")
    assert not told.get("Error") and done.returncode == 0, f"{module.path}: {told.get('Error') or done.stderr}"
    assert told["Sum"] == module.checksum, f"{module.path} is not what it was: {told['Sum']}"
    return Path(told["Dir"])


def _strict(schema: Any) -> Any:
    """A structural schema as a JSON schema in which what is not named is not allowed."""
    if not isinstance(schema, dict):
        return schema
    made = {
        key: value for key, value in schema.items() if not key.startswith("x-") and key not in ("format", "default")
    }
    if "properties" in made:
        made["properties"] = {name: _strict(one) for name, one in made["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if isinstance(made.get(key), dict):
            made[key] = _strict(made[key])
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable"):
        made = {"anyOf": [made, {"type": "null"}]}
    elif "properties" in made and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made
