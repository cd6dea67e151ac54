"""Generate `headrace_protos` from the contracts: `python protos/generate.py [--check]`.

The files are compiled under the import path `headrace_protos/...` (so that generated modules import each other
inside that package) while the proto packages stay `headrace.<area>.v1`.
`--check` writes nothing and exits with 1 when the committed code differs from what would be generated.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

PROTOS = Path(__file__).parent
PACKAGE = PROTOS.parent / "libs" / "protos" / "headrace_protos"


def generate(target: Path) -> None:
    """Write the generated package's subfolders into `target`."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "src"
        sources = []
        for source in sorted((PROTOS / "headrace").rglob("*.proto")):
            copy = root / "headrace_protos" / source.relative_to(PROTOS / "headrace")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(source.read_text().replace('import "headrace/', 'import "headrace_protos/'))
            sources.append(str(copy))
        out = Path(scratch) / "out"
        out.mkdir()
        well_known = str(files("grpc_tools") / "_proto")
        flags = [f"--{kind}={out}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
        if protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *flags, *sources]) != 0:
            sys.exit("protoc failed")
        for folder in [p for p in (out / "headrace_protos").rglob("*") if p.is_dir()]:
            (folder / "__init__.py").touch()
        for area in (out / "headrace_protos").iterdir():
            shutil.rmtree(target / area.name, ignore_errors=True)
            shutil.copytree(area, target / area.name)


def differences(left: Path, right: Path) -> list[str]:
    """Name the generated files that are not the same in both packages."""
    names = {p.relative_to(root) for root in (left, right) for p in root.rglob("*_pb2*.py*") if p.suffix != ".pyc"}
    return sorted(str(name) for name in names if not _same(left / name, right / name))


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def main() -> None:
    """Generate, or with `--check` compare."""
    if "--check" not in sys.argv[1:]:
        generate(PACKAGE)
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = differences(Path(scratch), PACKAGE)
    if stale:
        sys.exit("stale, run `make protos`: " + ", ".join(stale))


if __name__ == "__main__":
    main()
