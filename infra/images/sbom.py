"""Print what is in an image as a CycloneDX 1.5 document: its Python packages and its Debian packages.

The document has no date and no random number, so the same image gives the same document. Needs the standard library
alone; runs inside a build.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any


def python_packages(environments: Sequence[Path]) -> list[dict[str, Any]]:
    """A component for each distribution in some environments, by name."""
    sites = [str(next((environment / "lib").glob("python3.*/site-packages"))) for environment in environments]
    found = [_python_package(distribution) for distribution in distributions(path=sites)]
    return sorted(found, key=lambda one: (one["name"], one["version"]))


def _python_package(distribution: Distribution) -> dict[str, Any]:
    name = distribution.metadata["Name"].lower().replace("_", "-")
    component = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{distribution.version}",
        "name": name,
        "version": distribution.version,
        "purl": f"pkg:pypi/{name}@{distribution.version}",
    }
    licence = next(iter(distribution.metadata.get_all("License-Expression", ())), None)
    return component | ({"licenses": [{"expression": licence}]} if licence else {})


def debian_packages(status: str) -> list[dict[str, Any]]:
    """A component for each installed package in the text of dpkg's status file."""
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{name}@{version}?arch={fields.get('Architecture', 'all')}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return sorted(found, key=lambda one: one["name"])


def document(name: str, version: str, components: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole document."""
    subject = {"type": "container", "bom-ref": f"{name}@{version}", "name": name, "version": version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
    }


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the image")
    parser.add_argument("--version", required=True, help="of the image")
    parser.add_argument("--dpkg-status", type=Path, required=True, help="dpkg's status file of the image")
    parser.add_argument("environments", type=Path, nargs="+", help="folders of virtual environments")
    arguments = parser.parse_args()
    components = [
        *python_packages(arguments.environments),
        *debian_packages(arguments.dpkg_status.read_text(errors="replace")),
    ]
    json.dump(document(arguments.name, arguments.version, components), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
