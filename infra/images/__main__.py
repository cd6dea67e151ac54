"""`python -m infra.images [name ...]`: build the images of headrace and print how big each is."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from infra.images import plan
from infra.images.engines import Engine, NoEngine, find
from infra.images.plan import IMAGES, ROOT, Image

CONTAINERFILE = ROOT / "infra" / "images" / "Containerfile"
PYTHON = "docker.io/library/python:3.11-slim"


def reference(image: Image, registry: str, tag: str) -> str:
    """The name under which an image is built."""
    return f"{registry}/{image.name}:{tag}"


def options(image: Image, name: str, version: str) -> list[str]:
    """Options of the engine's build command."""
    made = {
        "IMAGE": image.name,
        "VERSION": version,
        "PYTHON": os.environ.get("HEADRACE_IMAGE_PYTHON", PYTHON),
    }
    commit, created = _git("rev-parse", "HEAD"), _git("show", "--no-patch", "--format=%cI", "HEAD")
    labels = plan.labels(image, version=version, revision=commit, created=created, base=made["PYTHON"])
    return [
        *("--file", str(CONTAINERFILE), "--target", image.target, "--tag", name),
        *(word for key, value in made.items() for word in ("--build-arg", f"{key}={value}")),
        *(word for key, value in labels.items() for word in ("--label", f"{key}={value}")),
    ]


def build(image: Image, engine: Engine, registry: str, tag: str) -> float:
    """Build one image; returns its size in megabytes.

    Raises:
        subprocess.CalledProcessError: the build failed.
    """
    name = reference(image, registry, tag)
    pull = ["--pull-never"] if engine.name == "buildah" and engine.has(PYTHON) else []
    engine.build([*pull, *options(image, name, plan.version())], ROOT)
    return engine.size_mb(name)


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Build what was asked for; 1 where an image is bigger than promised, 2 where nothing can build."""
    parser = argparse.ArgumentParser(prog="make images", description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all", metavar="name")
    parser.add_argument("--engine", default=os.environ.get("HEADRACE_IMAGE_ENGINE"), help="docker, podman or buildah")
    parser.add_argument("--registry", default=os.environ.get("HEADRACE_IMAGE_REGISTRY", "localhost/headrace"))
    parser.add_argument("--tag", default=os.environ.get("HEADRACE_IMAGE_TAG", plan.version()))
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(IMAGES)):
        parser.error(f"no such image: {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    try:
        engine = find(arguments.engine)
    except NoEngine as error:
        print(f"headrace: {error}", file=sys.stderr)
        return 2
    rows, too_big = [], []
    for image in (IMAGES[name] for name in arguments.names or IMAGES):
        started = time.monotonic()
        print(f"headrace: building {image.name} with {engine.name}", flush=True)
        try:
            size = build(image, engine, arguments.registry, arguments.tag)
        except subprocess.CalledProcessError as error:
            print(f"headrace: {image.name} was not built: {engine.name} ended with {error.returncode}", file=sys.stderr)
            return 1
        rows.append((reference(image, arguments.registry, arguments.tag), size, time.monotonic() - started))
        if image.most_mb is not None and size > image.most_mb:
            too_big.append(f"{image.name} has {size:.0f} MB, and {image.most_mb} were promised")
    for name, size, seconds in rows:
        print(f"{name:<48} {size:7.0f} MB  {seconds:6.0f} s")
    for line in too_big:
        print(f"headrace: {line}", file=sys.stderr)
    return 1 if too_big else 0


if __name__ == "__main__":
    sys.exit(main())
