"""Which images there are, from what they are made, and how big they may become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("gateway", "inference", "retrieval", "guardrails", "tracing", "rollout")


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: below the repository, for example `gateway`.
        target: stage of the Containerfile.
        title: one line that says what it is.
        lock: of what is installed in it, relative to the repository's root.
        most_mb: size, in megabytes, that a build may not exceed; None: no promise.
    """

    name: str
    target: str
    title: str
    lock: str
    most_mb: int | None = None


def _service(name: str, most_mb: int | None = None) -> Image:
    return Image(name, "service", f"headrace: the {name} service", f"requirements/images/{name}.lock", most_mb)


IMAGES = {
    image.name: image
    for image in (
        _service("gateway", 250),
        *(_service(name) for name in SERVICES[1:]),
        Image("tools", "tools", "headrace: the command, for jobs and tests", "requirements/images/tools.lock"),
        Image("ray", "ray", "headrace: all services on Ray", "requirements/images/ray.lock"),
        Image("triton", "triton", "headrace: Triton with CPU engines", "requirements/triton.lock"),
    )
}
"""By name, in the order in which they are built: small ones first."""


def labels(image: Image, *, version: str, revision: str, created: str, base: str) -> dict[str, str]:
    """The OCI labels of an image.

    Args:
        image: which one.
        version: of headrace.
        revision: commit that it was made from.
        created: time of that commit, RFC 3339.
        base: reference of the image below it.
    """
    prefix = "org.opencontainers.image"
    return {
        f"{prefix}.title": image.title,
        f"{prefix}.version": version,
        f"{prefix}.revision": revision,
        f"{prefix}.created": created,
        f"{prefix}.licenses": "Apache-2.0",
        f"{prefix}.base.name": base,
    }


def version() -> str:
    """The version that all packages of the repository have."""
    for line in (ROOT / "services" / "gateway" / "pyproject.toml").read_text().splitlines():
        if line.startswith("version = "):
            return line.split('"')[1]
    raise ValueError("services/gateway/pyproject.toml has no version")
