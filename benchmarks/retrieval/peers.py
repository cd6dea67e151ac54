"""Peers, each a script in an environment of their own: JSON in, JSON out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ENVIRONMENT = Path(__file__).parents[2] / ".venv-search-peers"


def there() -> bool:
    """Whether the environment was made; `make bench-retrieval` makes it."""
    return (ENVIRONMENT / "bin" / "python").exists()


def run(script: str, question: dict[str, Any]) -> Any:
    """What the script `peer_<script>.py` answers. Raises CalledProcessError."""
    file = Path(__file__).with_name(f"peer_{script}.py")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "python", "-W", "ignore", file],
        input=json.dumps(question), stdout=subprocess.PIPE, text=True, check=True, env=env,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])
