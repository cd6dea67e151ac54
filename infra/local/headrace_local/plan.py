"""Everything that a platform on this machine consists of, as one plan for the supervisor."""

import os
import secrets
import sys
from collections.abc import Iterable

import msgspec

from headrace_kit.config.ports import SERVICES
from headrace_local import postgres, services, triton, valkey
from headrace_local.ports import port
from headrace_local.settings import Settings
from headrace_local.units import Plan, PlanError, Unit, select

PARTS = {
    "postgres": ("postgres-init", "postgres", "postgres-setup"),
    "schema": ("migrate",),
    "valkey": ("valkey",),
    "triton": ("models", "triton"),
}
"""Names for groups of units that only make sense together; every other unit is a part by itself."""


def make(settings: Settings, parts: Iterable[str] | None = None) -> Plan:
    """The plan of a new run.

    Args:
        settings: what was chosen.
        parts: names of `PARTS` and of services; None for everything.

    Raises:
        PlanError: there is no such part.
        PostgresError, ValkeyError, TritonError: what a part is made of is not installed.
    """
    wanted = None if parts is None else expand(parts, settings.runtime)
    units = all_units(settings, triton_wanted=wanted is None or "triton" in wanted)
    chosen = tuple(units) if wanted is None else select(units, wanted)
    layout, environment = settings.layout, settings.environment()
    return Plan(
        data_dir=str(layout.data_dir),
        run_id=f"{layout.identity}-{secrets.token_hex(4)}",
        units=tuple(msgspec.structs.replace(unit, env={**environment, **unit.env}) for unit in chosen),
        facts={
            "url": f"http://127.0.0.1:{port(settings.port_base, 'gateway-http')}",
            "port_base": str(settings.port_base),
            "runtime": settings.runtime,
            "config": str(settings.config),
            "data_dir": str(layout.data_dir),
        },
    )


def expand(parts: Iterable[str], runtime: str) -> tuple[str, ...]:
    """The units of parts.

    Raises:
        PlanError: there is no such part.
    """
    hosts = ("ray",) if runtime == "ray" else SERVICES
    names: list[str] = []
    for part in parts:
        if part not in PARTS and part not in hosts:
            raise PlanError(f"no such part: {part}; there are {', '.join((*PARTS, *hosts))}")
        names += PARTS.get(part, (part,))
    return tuple(names)


def all_units(settings: Settings, *, triton_wanted: bool = True) -> list[Unit]:
    """Every unit, in the order in which a reader would explain them."""
    layout, base = settings.layout, settings.port_base
    step = (sys.executable, "-m", "headrace_local.steps")
    units = postgres.units(layout, port(base, "postgres"), step)
    units.append(
        Unit(
            name="migrate",
            kind="task",
            argv=(sys.executable, "-m", "headrace_kit.stores.migrations"),
            after=("postgres-setup",),
        )
    )
    units.append(valkey.unit(layout, port(base, "valkey")))
    if triton_wanted:
        units.append(Unit(name="models", kind="task", argv=(*step, "models"), env={"PYTHONUNBUFFERED": "1"}))
        numbers = (port(base, "triton-http"), port(base, "triton-grpc"), port(base, "triton-metrics"))
        path, libraries = os.environ.get("PATH", os.defpath), os.environ.get("LD_LIBRARY_PATH", "")
        units.append(triton.unit(layout, triton.environment(settings.triton_env), numbers, path, libraries))
    if settings.runtime == "ray":
        units.append(services.ray_unit(base))
    else:
        units += services.units(base)
    return units


__all__ = ["PARTS", "PlanError", "all_units", "expand", "make"]
