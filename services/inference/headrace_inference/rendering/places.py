"""Where a deployment's weights are: on this machine, or on the machine that the rendering is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from headrace_kit.config.catalogue import CatalogueEntry
from headrace_kit.errors import BadInput, NotReady

Files = Mapping[str, Mapping[str, Path]]
"""Paths of downloaded files: catalogue entry -> file name -> path."""


@dataclass(frozen=True, slots=True)
class Places:
    """Finds files of catalogue entries.

    Attributes:
        files: those on this machine, see `catalogue.pull`.
        catalogue: all entries; needed where `files` lacks some.
        models_dir: folder on another machine that has them as `<models_dir>/<entry>/<file>`. None: this machine.
    """

    files: Files
    catalogue: Mapping[str, CatalogueEntry] = field(default_factory=dict)
    models_dir: PurePosixPath | None = None

    def path(self, entry: str, wanted: str) -> str:
        """Path of a file of an entry as the engine will see it: the one of that name, or the first with that ending.

        Args:
            entry: of the catalogue.
            wanted: a file's name, or an ending that begins with a dot.

        Raises:
            BadInput: the entry has no such file.
            NotReady: it is not on this machine, and no other is meant.
        """
        name = self._name(entry, wanted)
        if self.models_dir is not None:
            return str(self.models_dir / entry / name)
        return str(self._here(entry, name).resolve())

    def folder(self, entry: str) -> str:
        """The folder that holds all files of an entry under their own names.

        Raises:
            BadInput: the files are not in one folder under their names.
            NotReady: they are not on this machine, and no other is meant.
        """
        if self.models_dir is not None:
            return str(self.models_dir / entry)
        roots = {_root(self._here(entry, name), name) for name in self._names(entry)}
        if len(roots) != 1 or None in roots:
            raise BadInput(
                f"the files of catalogue entry {entry!r} are not in one folder under their own names, "
                f"as engines want them: `headrace models pull {entry}` lays them out",
                param=f"catalogue.{entry}.files",
            )
        return str(roots.pop())

    def local(self, entry: str, wanted: str) -> Path | None:
        """A file of an entry if it is on this machine, to look into; never an error."""
        for name, path in self.files.get(entry, {}).items():
            if _is(name, wanted) and path.is_file():
                return path
        return None

    def size(self, entry: str) -> int:
        """Bytes of all files of an entry: as the catalogue says, else as they are."""
        if entry in self.catalogue:
            return sum(file.size for file in self.catalogue[entry].files)
        return sum(path.stat().st_size for path in self.files.get(entry, {}).values() if path.is_file())

    def _names(self, entry: str) -> list[str]:
        if self.files.get(entry):
            return list(self.files[entry])
        return [file.name for file in self.catalogue[entry].files] if entry in self.catalogue else []

    def _name(self, entry: str, wanted: str) -> str:
        for name in self._names(entry):
            if _is(name, wanted):
                return name
        what = f"that ends in {wanted!r}" if wanted.startswith(".") else wanted
        raise BadInput(f"catalogue entry {entry!r} has no file {what}", param=f"catalogue.{entry}.files")

    def _here(self, entry: str, name: str) -> Path:
        path = self.files.get(entry, {}).get(name)
        if path is None:
            raise NotReady(
                f"{name} of catalogue entry {entry!r} is not on this machine: run `headrace models pull {entry}`, or "
                "say where the machine that this is for has its models"
            )
        return path


def _is(name: str, wanted: str) -> bool:
    return name.endswith(wanted) if wanted.startswith(".") else PurePath(name).name == wanted


def _root(path: Path, name: str) -> Path | None:
    """The folder in which a file has this name, which may itself begin with folders."""
    parts = PurePath(name).parts
    return path.parents[len(parts) - 1] if path.parts[-len(parts) :] == parts else None
