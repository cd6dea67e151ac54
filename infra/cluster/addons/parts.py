"""What all add-ons do: make an image of a program, apply objects, wait until they are ready."""

from __future__ import annotations

from pathlib import Path

from infra.cluster import cluster, images
from infra.cluster.places import Places

MANIFESTS = Path(__file__).parents[1] / "manifests"


def image(places: Places, reference: str, recipe: str, *programs: Path) -> None:
    """Make an image of programs, and bring it into the cluster."""
    used = images.engine()
    images.ensure_python(used)
    images.of_program(places, used, reference, recipe, programs)
    images.load(places, images.archive(places, reference))


def apply(places: Places, *words: str, stdin: str | None = None) -> None:
    """`kubectl apply`. Raises CannotRun with what it said."""
    done = cluster.kubectl(places, "apply", *words, stdin=stdin)
    if done.returncode != 0:
        raise cluster.CannotRun(f"kubectl apply {' '.join(words)}: {done.stderr.strip()}")


def wait(places: Places, namespace: str, what: str, condition: str = "") -> None:
    """Wait until a workload is rolled out, or an object has a condition. Raises CannotRun after 2 minutes."""
    how = ("wait", f"--for=condition={condition}", what) if condition else ("rollout", "status", what)
    done = cluster.kubectl(places, "-n", namespace, *how, "--timeout=120s")
    if done.returncode != 0:
        raise cluster.CannotRun(f"{what} is not ready: {done.stderr.strip()}")
