"""`python -m infra.cluster.gomod 1.34.4`: write go.mod of the combined binary for another version of Kubernetes.

Kubernetes replaces its own staging modules by folders; who builds it as a dependency has to name their versions
instead. Run `go mod tidy` beside the file afterwards, and change the version in `builds.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).parent / "go" / "kubernetes" / "go.mod"


def gomod(theirs: str, version: str) -> str:
    """Text of our go.mod.

    Args:
        theirs: text of k8s.io/kubernetes' own.
        version: of Kubernetes, without a v.
    """
    staging = "v0." + version.split(".", 1)[1]
    modules = set(re.findall(r"(k8s\.io/[\w-]+) => \./staging/src/", theirs))
    # releases with a go.work have no replacements
    modules = modules or set(re.findall(r"^\s*(k8s\.io/[\w-]+) v0\.0\.0", theirs, re.MULTILINE))
    found = re.search(r"^go \S+", theirs, re.MULTILINE)
    godebug = re.search(r"^godebug (?:\((.*?)\)|.*?$)", theirs, re.MULTILINE | re.DOTALL)
    parts = ["module headrace-kubernetes", found[0] if found else "go 1.24", *([godebug[0]] if godebug else [])]
    replaced = "\n".join(f"\t{name} => {name} {staging}" for name in sorted(modules))
    return "\n\n".join([*parts, f"require k8s.io/kubernetes v{version}", f"replace (\n{replaced}\n)"]) + "\n"


def main(version: str) -> None:
    """Fetch the module and write the file."""
    command = ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout)
    OUT.write_text(gomod(Path(told["GoMod"]).read_text(), version))


if __name__ == "__main__":
    main(*sys.argv[1:])
