"""`python -m tests.cluster.beforehand`: build what `make test-cluster` needs, and start nothing.

In the order in which its parts need them, so that a run that comes too early finds what it needs first. It takes the
time that nothing else on the machine wants. Where the tests would take another cluster than one from packages, it does
nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from infra.cluster import builds, cluster
from infra.cluster.places import Places
from infra.images.engines import find
from infra.images.plan import SERVICES
from tests.cluster.source import Packages, Source, build_all, choose, is_built

IMAGES = ("tools", *SERVICES, "triton")
"""The images that all parts but `ray` use."""
PARTS = {
    "canary": ("envoy", "envoy-gateway"),
    "autoscaling": ("metrics-server", "prometheus", "keda"),
    "ray": ("kuberay",),
}
"""What of the cluster a part of the tests needs beyond the basics, by the part's name."""
IMAGE_MINUTES = 1.3
"""An image, on two cores."""


def main() -> None:
    """Build it all."""
    places = Places()
    if not isinstance(choose(places), Packages):
        return
    _yield_to_others()
    cluster.prepare(places)
    used = find(os.environ.get("HEADRACE_IMAGE_ENGINE"))
    build_all(places, used, *IMAGES)
    for parts in PARTS.values():
        builds.ensure(places, *parts)
    build_all(places, used, "ray")


def to_build_s(source: Source, part: str) -> float:
    """About how many seconds a part of the tests would spend on building first."""
    if not isinstance(source, Packages):
        return 0
    minutes = sum(
        builds.BUILDS[name].minutes for name in builds.missing(source.places, *builds.BASICS, *PARTS.get(part, ()))
    )
    images = ("tools", "triton", "ray") if part == "ray" else IMAGES
    used = find(os.environ.get("HEADRACE_IMAGE_ENGINE"))
    return 60 * (minutes + IMAGE_MINUTES * sum(not is_built(source.places, used, name) for name in images))


def _yield_to_others() -> None:
    """Become the last that the kernel gives time to, with all that is started from here."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    # Linux may share the processors between sessions first, and by nice only within one: have a session of our own.
    with contextlib.suppress(PermissionError):
        os.setsid()
    group = Path("/proc/self/autogroup")
    if os.getsid(0) == os.getpid() and group.exists():
        group.write_text("19")


if __name__ == "__main__":
    main()
