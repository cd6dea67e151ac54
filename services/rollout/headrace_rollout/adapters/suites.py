"""Suites out of files beside the config."""

from __future__ import annotations

from headrace_evals import graders, suite
from headrace_evals.suite import Label, Loaded, SuiteInvalid
from headrace_kit.config import ConfigStore


class ConfigSuites:
    """The suites that the config's `evals:` names, read anew each time: a file may change."""

    def __init__(self, configs: ConfigStore) -> None:
        self._configs = configs

    def load(self, name: str) -> Loaded:
        """A suite by its name.

        Raises:
            SuiteInvalid: the config has none of this name, or its file cannot be used.
        """
        snapshot = self._configs.current
        if name not in snapshot.config.evals:
            raise SuiteInvalid(f"the config has no evals.{name} any more")
        loaded = suite.load(snapshot.path.parent / snapshot.config.evals[name].file)
        for grader_name, grader in loaded.suite.graders.items():
            graders.check(grader_name, grader)
        return loaded

    def labels(self, file: str) -> list[Label]:
        """Comparisons that people made, in a file beside the config. Raises SuiteInvalid."""
        folder = self._configs.current.path.parent
        place = (folder / file).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise SuiteInvalid(f"labels: {file!r} is not beside the config")
        return suite.read_labels(place)

    def tenant(self, name: str) -> str:
        """For whom a suite's questions are asked. Raises as `load`."""
        known = self._configs.current.config.evals.get(name)
        if known is None:
            raise SuiteInvalid(f"the config has no evals.{name} any more")
        return known.tenant
