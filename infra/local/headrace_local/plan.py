"""Everything that a platform on this machine consists of, as one plan for the supervisor."""

import os
import secrets
import sys
from collections.abc import Iterable, Mapping

import msgspec

from headrace_kit.config import load
from headrace_kit.config.ports import SERVICES
from headrace_local import ports, postgres, services, triton, valkey
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
        ConfigInvalid: the config file cannot be used.
        PlanError: there is no such part.
        PostgresError, ValkeyError, TritonError: what a part is made of is not installed.
    """
    wanted = None if parts is None else expand(parts, settings.runtime)
    numbers = ports_of(settings)
    units = all_units(settings, numbers, triton_wanted=wanted is None or "triton" in wanted)
    chosen = tuple(units) if wanted is None else select(units, wanted)
    layout, environment = settings.layout, settings.environment()
    return Plan(
        data_dir=str(layout.data_dir),
        run_id=f"{layout.identity}-{secrets.token_hex(4)}",
        units=tuple(msgspec.structs.replace(unit, env={**environment, **unit.env}) for unit in chosen),
        facts={
            "url": f"http://127.0.0.1:{numbers['gateway-http']}",
            "grpc": f"127.0.0.1:{numbers['gateway-grpc']}",
            "otlp": f"127.0.0.1:{numbers['tracing-otlp']}",
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


def ports_of(settings: Settings) -> dict[str, int]:
    """The platform's ports by name. On Ray the services have no ports of their own to choose.

    Raises:
        ConfigInvalid: the config file cannot be used; the message names the line and the field.
    """
    services = load(settings.config).services
    return ports.table(settings.port_base, services if settings.runtime == "process" else None)


def all_units(settings: Settings, numbers: Mapping[str, int], *, triton_wanted: bool = True) -> list[Unit]:
    """Every unit, in the order in which a reader would explain them."""
    layout = settings.layout
    step = (sys.executable, "-m", "headrace_local.steps")
    units = postgres.units(layout, numbers["postgres"], step)
    units.append(
        Unit(
            name="migrate",
            kind="task",
            argv=(sys.executable, "-m", "headrace_kit.stores.migrations"),
            after=("postgres-setup",),
        )
    )
    units.append(valkey.unit(layout, numbers["valkey"]))
    if triton_wanted:
        units.append(Unit(name="models", kind="task", argv=(*step, "models"), env={"PYTHONUNBUFFERED": "1"}))
        of_triton = (numbers["triton-http"], numbers["triton-grpc"], numbers["triton-metrics"])
        path, libraries = os.environ.get("PATH", os.defpath), os.environ.get("LD_LIBRARY_PATH", "")
        units.append(triton.unit(layout, triton.environment(settings.triton_env), of_triton, path, libraries))
    if settings.runtime == "ray":
        units.append(services.ray_unit(numbers))
    else:
        units += services.units(numbers)
    return units


__all__ = ["PARTS", "PlanError", "all_units", "expand", "make", "ports_of"]
