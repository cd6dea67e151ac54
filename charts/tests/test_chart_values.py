"""Values: schema, README and dashboards are made from what they describe, and wrong values are refused by name."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "headrace"


@pytest.fixture(scope="module")
def generate():
    sys.path.insert(0, str(ROOT / "charts"))  # as Python does for a script
    spec = importlib.util.spec_from_file_location("chart_generate", ROOT / "charts" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_made_is_up_to_date():
    done = subprocess.run(
        [sys.executable, "charts/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_value_is_described(generate):
    assert [path for path, _, what in generate.rows(generate.values()) if not what] == []


def test_every_value_is_used(generate):
    """Each key stands in a template; those of pods, model servers and scalers by its own name."""
    templates = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    unused = [
        path
        for path, _, _ in generate.rows(generate.values())
        if not re.search(rf"[.\"]{re.escape(path.rsplit('.', 1)[-1])}\b", templates)
    ]
    assert unused == []


def test_the_schema_is_one_and_takes_the_defaults(generate):
    schema = generate.schema(generate.values())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(generate._plain(generate.values()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gateway": {"replica": 3}}, "at '/gateway': additional properties 'replica' not allowed"),
        ({"runtime": "nomad"}, "at '/runtime': value must be one of 'process', 'ray'"),
        ({"config": {"modles": {}}}, "at '/config': additional properties 'modles' not allowed"),
        ({"config": {"models": {"a": {"timeout_ms": "soon"}}}}, "at '/config/models/a/timeout_ms'"),
        ({"pods": {"lingerSeconds": -1}}, "at '/pods/lingerSeconds': minimum: got -1, want 0"),
        ({"tritons": {"gpu": {"replicas": "two"}}}, "at '/tritons/gpu/replicas': got string, want integer"),
        ({"tritons": {"Big_One": {}}}, "invalid propertyName 'Big_One'"),
        ({"postgres": {"size": "a lot"}}, "at '/postgres/size'"),
        ({"inference": {"resources": {"request": {}}}}, "at '/inference/resources'"),
    ],
)
def test_a_wrong_value_is_named(render, values, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        render(values)
