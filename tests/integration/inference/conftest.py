"""Makes what the tests of inference share importable, and starts one Triton for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "suite"))

from inference_suite.triton import Triton


@pytest.fixture(scope="session")
def triton(tmp_path_factory) -> Iterator[Triton]:
    """The real Triton with our models and the stand-ins."""
    started = Triton(tmp_path_factory.mktemp("triton"))
    started.start()
    try:
        yield started
    finally:
        started.stop()
