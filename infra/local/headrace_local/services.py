"""The six services: a process each, or all in one on Ray Serve."""

import sys
from collections.abc import Mapping

from headrace_kit.config.ports import SERVICES
from headrace_local.units import HttpProbe, Unit

USES = {
    "gateway": ("guardrails", "retrieval", "inference", "rollout", "tracing"),
    "inference": ("triton", "tracing"),
    "retrieval": ("inference", "tracing"),
    "guardrails": ("inference", "tracing"),
    "rollout": ("inference", "tracing"),
    "tracing": (),
}
"""Whom a service calls; it starts beside them, since they may come and go, and they stop after it."""

STORES = ("migrate", "valkey")

# Two arenas of the C library's allocator instead of eight a core: tens of MB less per process.
ENV = {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}


def units(ports: Mapping[str, int]) -> list[Unit]:
    """One process a service, listening on `ports` (see `headrace_local.ports.table`)."""
    return [
        Unit(
            name=name,
            argv=(sys.executable, "-m", "headrace_kit.hosting", name),
            env=ENV,
            after=STORES,
            uses=USES[name],
            ports=_ports_of(name, ports),
            probe=HttpProbe(port=ports[f"{name}-ops"]),
            stop_s=30,
        )
        for name in SERVICES
    ]


def ray_unit(ports: Mapping[str, int]) -> Unit:
    """All six in Ray Serve on this machine."""
    return Unit(
        name="ray",
        argv=(sys.executable, "-m", "headrace_local.ray"),
        env=ENV,
        after=STORES,
        uses=("triton",),
        ports={purpose: number for name in (*SERVICES, "ray") for purpose, number in _ports_of(name, ports).items()},
        probe=HttpProbe(port=ports["ray-ops"]),
        start_s=240,
        stop_s=60,
    )


def _ports_of(owner: str, ports: Mapping[str, int]) -> dict[str, int]:
    return {name.replace("-", " "): number for name, number in ports.items() if name.startswith(f"{owner}-")}
