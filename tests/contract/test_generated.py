"""What is generated and committed is what its sources say now; `make protos` makes it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headrace_kit.config import schema

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def test_the_code_of_the_contracts_is_fresh():
    checked = subprocess.run(
        [sys.executable, ROOT / "protos/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_schema_of_the_config_is_fresh():
    assert (REFERENCE / "headrace.schema.json").read_text() == schema.schema_text()


def test_the_reference_page_of_the_config_is_fresh():
    assert (REFERENCE / "headrace.yaml.md").read_text() == schema.reference()
