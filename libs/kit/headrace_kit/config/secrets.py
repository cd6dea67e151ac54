"""Secrets by name, from the environment or from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headrace_kit.config.base import SecretRef
from headrace_kit.errors import NotReady


class Secrets:
    """Resolves names to values: `HEADRACE_SECRET_<NAME>` first, then the file `<folder>/<name>`.

    A Kubernetes Secret mounted as a folder is such files. Values are read at each call, so a rotated file is seen.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._variables = dict(variables or {})

    @property
    def folder(self) -> Path:
        """Where secret files are."""
        return self._folder

    def get(self, name: str | SecretRef) -> str | None:
        """The secret's value without surrounding white space, or None."""
        name = name.secret if isinstance(name, SecretRef) else name
        variable = "HEADRACE_SECRET_" + name.upper().replace("-", "_").replace(".", "_")
        if variable in self._variables:
            return self._variables[variable]
        try:
            return (self._folder / name).read_text().strip()
        except FileNotFoundError:
            return None

    def require(self, name: str | SecretRef) -> str:
        """The secret's value.

        Raises:
            NotReady: it is nowhere; the message names the variable and the file that were tried.
        """
        value = self.get(name)
        if value is None:
            name = name.secret if isinstance(name, SecretRef) else name
            variable = "HEADRACE_SECRET_" + name.upper().replace("-", "_").replace(".", "_")
            raise NotReady(f"secret {name!r} is not set: set {variable} or write the file {self._folder / name}")
        return value
