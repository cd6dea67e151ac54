"""The six services: a process each, or all in one on Ray Serve."""

import sys

from headrace_kit.config.ports import OFFSETS, SERVICES
from headrace_local.ports import port
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


def units(port_base: int) -> list[Unit]:
    """One process a service."""
    return [
        Unit(
            name=name,
            argv=(sys.executable, "-m", "headrace_kit.hosting", name),
            env=ENV,
            after=STORES,
            uses=USES[name],
            ports=_ports(name, port_base),
            probe=HttpProbe(port=port(port_base, f"{name}-ops")),
            stop_s=30,
        )
        for name in SERVICES
    ]


def ray_unit(port_base: int) -> Unit:
    """All six in Ray Serve on this machine."""
    return Unit(
        name="ray",
        argv=(sys.executable, "-m", "headrace_local.ray"),
        env=ENV,
        after=STORES,
        uses=("triton",),
        ports={purpose: number for name in (*SERVICES, "ray") for purpose, number in _ports(name, port_base).items()},
        probe=HttpProbe(port=port(port_base, "ray-ops")),
        start_s=240,
        stop_s=60,
    )


def _ports(service: str, port_base: int) -> dict[str, int]:
    return {
        name.replace("-", " "): port_base + offset for name, offset in OFFSETS.items() if name.startswith(f"{service}-")
    }
