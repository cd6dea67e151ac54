"""Bring an image's environment into its last shape: no tests, no headers, bytecode made beforehand.

Bytecode is made here because the root file system is read-only where it runs. It is not checked against its source at
each import: nothing changes either of them. Needs the standard library alone; runs inside a build.
"""

import argparse
import compileall
import shutil
import subprocess
from pathlib import Path
from py_compile import PycInvalidationMode

SCRIPTS = ("activate*", "Activate.ps1", "pip*", "f2py*", "numpy-config", "wheel")
TESTS = ("tests", "test")
KEEP = ("headrace", "pytriton")
"""Packages with folders of these names that are more than tests."""


def prune(site: Path) -> None:
    """Remove what no import reaches: test suites, stubs of types, headers, static libraries, debuggers' tables."""
    for folder in [path for name in TESTS for path in site.glob(f"*/**/{name}") if path.is_dir()]:
        if folder.exists() and not folder.relative_to(site).parts[0].startswith(KEEP):
            shutil.rmtree(folder)
    for pattern in ("*.pyi", "*.a", "*.h", "*.hpp", "*.pxd", "*.c", "*.cpp"):
        for path in site.rglob(pattern):
            path.unlink()
    # what repair tools have rewritten (`*.libs`) stays as it is
    libraries = [path for path in site.rglob("*.so*") if path.is_file() and not path.parent.name.endswith(".libs")]
    if libraries:
        subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)


def link_triton(environment: Path, site: Path) -> None:
    """Make the folder of Triton's backends, of links: a copy would not find its libraries."""
    server = site / "pytriton" / "tritonserver"
    stubs = server / "python_backend_stubs"
    version = site.parent.name.removeprefix("python")
    for stub in stubs.iterdir():
        if stub.name != version:
            shutil.rmtree(stub)
    backend = environment / "triton" / "backends" / "python"
    backend.mkdir(parents=True)
    for target in [*(server / "backends" / "python").iterdir(), stubs / version / "triton_python_backend_stub"]:
        (backend / target.name).symlink_to(target)
    (environment / "triton" / "server").symlink_to(server)


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--at", type=Path, help="where it will be at run time; default: where it is")
    parser.add_argument("--triton", action="store_true", help="it holds Triton, whose backends are linked")
    parser.add_argument("--script", type=Path, action="append", default=[], help="to put into its bin")
    arguments = parser.parse_args()
    environment: Path = arguments.environment
    site = next((environment / "lib").glob("python3.*/site-packages"))
    for pattern in SCRIPTS:
        for path in (environment / "bin").glob(pattern):
            path.unlink()
    prune(site)
    if arguments.triton:
        link_triton(environment, site)
    for script in arguments.script:
        (environment / "bin").mkdir(exist_ok=True)
        shutil.copy(script, environment / "bin")
    compileall.compile_dir(
        site,
        quiet=2,
        workers=0,
        stripdir=str(environment),
        prependdir=str(arguments.at or environment),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    main()
