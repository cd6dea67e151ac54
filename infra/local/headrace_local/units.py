"""What the supervisor runs: units, as plain data, and the order among them.

A plan is written to a file and read by the supervisor process, so a unit says everything by value
and passwords stay where they are: a probe names the file that holds one.
"""

import signal
from collections.abc import Iterable
from typing import Literal

import msgspec


class TcpProbe(msgspec.Struct, frozen=True, tag="tcp"):
    """Ready when the port on loopback accepts a connection."""

    port: int


class HttpProbe(msgspec.Struct, frozen=True, tag="http"):
    """Ready when GET of `path` on loopback answers 200."""

    port: int
    path: str = "/readyz"


class ValkeyProbe(msgspec.Struct, frozen=True, tag="valkey"):
    """Ready when PING answers PONG; a server that is still loading its log answers otherwise."""

    port: int
    password_file: str


class PostgresProbe(msgspec.Struct, frozen=True, tag="postgres"):
    """Ready when pg_isready says that connections are accepted."""

    pg_isready: str
    port: int


Probe = TcpProbe | HttpProbe | ValkeyProbe | PostgresProbe


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the platform."""

    name: str
    argv: tuple[str, ...]
    kind: Literal["service", "task"] = "service"
    """A service runs until it is stopped and is started again when it dies; a task runs once, to its end."""
    env: dict[str, str] = {}
    """Added to the environment that the supervisor itself was given."""
    after: tuple[str, ...] = ()
    """Units that must be ready (or, for tasks, done) before this one starts. They stop after it."""
    uses: tuple[str, ...] = ()
    """Units that only have to outlive this one: it starts beside them, and they stop after it."""
    probe: Probe | None = None
    """How to ask a service whether it is ready. Without one it is ready as soon as it runs."""
    ports: dict[str, int] = {}
    """What it listens on, by purpose; checked before anything starts."""
    stop_signal: int = signal.SIGTERM
    stop_s: float = 15
    """Seconds that the unit may take to stop before it is killed."""
    start_s: float = 120
    """Seconds that a starting service may be silent before it is killed and started again.

    One that answers, but waits for something else, is left to wait.
    """
    links: dict[str, str] = {}
    """Symbolic links that are there while the unit runs, path to target, each in a folder that is ours alone."""
    stale_files: tuple[str, ...] = ()
    """Glob patterns of files that a killed run leaves behind; removed while the unit does not run."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that one supervisor is to run."""

    data_dir: str
    run_id: str
    """Starts with the data directory's identity; every process of the run carries it as HEADRACE_RUN_ID."""
    units: tuple[Unit, ...]
    facts: dict[str, str] = {}
    """What `status` shows about the run: URL, runtime, configuration file."""


class PlanError(ValueError):
    """The units cannot be ordered: a name is missing, twice there, or a cycle."""


def select(units: Iterable[Unit], names: Iterable[str]) -> tuple[Unit, ...]:
    """The named units alone, with `after` and `uses` cut down to them.

    Raises:
        PlanError: a name is unknown.
    """
    known = {unit.name: unit for unit in units}
    wanted = set(names)
    if unknown := sorted(wanted - known.keys()):
        raise PlanError(f"no such unit: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(
        msgspec.structs.replace(
            unit,
            after=tuple(name for name in unit.after if name in wanted),
            uses=tuple(name for name in unit.uses if name in wanted),
        )
        for unit in known.values()
        if unit.name in wanted
    )


def check(units: Iterable[Unit]) -> None:
    """Make sure that every unit can start and stop in order.

    Raises:
        PlanError: a name occurs twice, a unit waits for one that is not there, or units wait for each other.
    """
    waits: dict[str, set[str]] = {}
    for unit in units:
        if unit.name in waits:
            raise PlanError(f"two units are named {unit.name}")
        waits[unit.name] = {*unit.after, *unit.uses}
    for name, others in waits.items():
        if missing := sorted(others - waits.keys()):
            raise PlanError(f"{name} waits for {', '.join(missing)}, which is not in the plan")
    while free := [name for name, others in waits.items() if not others]:
        for name in free:
            del waits[name]
        for others in waits.values():
            others.difference_update(free)
    if waits:
        raise PlanError(f"these units wait for each other: {', '.join(sorted(waits))}")
