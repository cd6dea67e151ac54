"""Triton Inference Server with its Python backend, its server taken from a Python package."""

import configparser
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headrace_local.layout import Layout
from headrace_local.units import HttpProbe, Unit

MODELS, BACKENDS = "models", "backends"

EXIT_TIMEOUT_S = 5
"""Seconds that open streams get at a stop; Triton's own default is 30."""


class TritonError(RuntimeError):
    """Triton cannot be set up here; the message says what is missing."""


@dataclass(frozen=True)
class TritonEnvironment:
    """The virtual environment that holds Triton.

    Attributes:
        folder: the environment.
        site_packages: where its packages are.
        version: of its Python, for example `3.11`.
        library_dir: folder of that Python's shared library where it has one of its own, else None (the system's).
    """

    folder: Path
    site_packages: Path
    version: str
    library_dir: Path | None

    @property
    def server(self) -> Path:
        """Folder of Triton's distribution."""
        return self.site_packages / "pytriton" / "tritonserver"


def environment(folder: Path) -> TritonEnvironment:
    """Look at a virtual environment.

    Raises:
        TritonError: it is not there, or Triton is not in it.
    """
    found = sorted((folder / "lib").glob("python3.*/site-packages"))
    if not found:
        raise TritonError(f"there is no environment for Triton at {folder}: run `make up`, or set HEADRACE_TRITON_ENV")
    version = found[0].parent.name.removeprefix("python")
    settings = configparser.ConfigParser()
    settings.read_string("[venv]\n" + (folder / "pyvenv.cfg").read_text())
    library_dir = Path(settings["venv"]["home"]).resolve().parent / "lib"
    own = library_dir if (library_dir / f"libpython{version}.so.1.0").exists() else None
    there = TritonEnvironment(folder, found[0], version, own)
    if not (there.server / "bin" / "tritonserver").exists():
        raise TritonError(f"Triton is not in {folder}: run `make up` again, or install requirements/triton.lock there")
    return there


def link_backend(layout: Layout, there: TritonEnvironment) -> None:
    """Make the folder of backends: links, because a copy would not find its libraries.

    Raises:
        TritonError: Triton has no stub for the environment's Python.
    """
    stub = there.server / "python_backend_stubs" / there.version / "triton_python_backend_stub"
    if not stub.exists():
        raise TritonError(
            f"Triton has no Python backend for Python {there.version}: its environment needs 3.11 or 3.12"
        )
    folder = layout.triton / BACKENDS / "python"
    folder.mkdir(parents=True, exist_ok=True)
    for target in [*(there.server / "backends" / "python").iterdir(), stub]:
        link = folder / target.name
        if link.is_symlink() and link.readlink() == target:
            continue
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def repository(layout: Layout) -> Path:
    """Folder of the model repository."""
    return layout.triton / MODELS


def unit(layout: Layout, there: TritonEnvironment, ports: tuple[int, int, int], path: str, libraries: str) -> Unit:
    """The server.

    Args:
        layout: the data directory.
        there: its environment.
        ports: of HTTP, gRPC and metrics, on loopback.
        path: the caller's PATH.
        libraries: the caller's LD_LIBRARY_PATH.
    """
    http, grpc, metrics = ports
    # the names of the backend's shared memory, so that ours can be told from another Triton's
    prefix = f"headrace-{layout.identity}-"
    # the backend starts its stub by a shell command and quotes nothing: it is shown plain paths
    plain = layout.triton
    if not re.fullmatch(r"[A-Za-z0-9/._+-]+", str(plain)):
        plain = Path(tempfile.gettempdir()) / f"headrace-{os.geteuid()}" / layout.identity
    search = [str(there.library_dir)] if there.library_dir else []
    return Unit(
        name="triton",
        argv=(
            str(there.server / "bin" / "tritonserver"),
            f"--model-repository={plain / MODELS}",
            f"--backend-directory={plain / BACKENDS}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--exit-on-error=false",  # a model that does not load leaves the others to serve
            "--strict-readiness=false",
            "--http-address=127.0.0.1",
            f"--http-port={http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={metrics}",
            "--allow-gpu-metrics=false",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
        ),
        env={
            "PATH": f"{there.folder / 'bin'}:{path}",
            "LD_LIBRARY_PATH": ":".join([*search, *([libraries] if libraries else [])]),
        },
        after=("models",),
        ports={"triton http": http, "triton grpc": grpc, "triton metrics": metrics},
        probe=HttpProbe(port=http, path="/v2/health/ready"),
        stop_s=EXIT_TIMEOUT_S + 15,
        links={} if plain == layout.triton else {str(plain): str(layout.triton)},
        stale_files=(f"/dev/shm/{prefix}*",),  # noqa: S108, where the backend puts them
    )
