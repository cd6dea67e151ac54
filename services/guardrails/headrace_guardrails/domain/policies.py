"""The policies of each config snapshot that is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from headrace_guardrails.ports import Compiler, Policy
from headrace_kit.config.guardrails import Policy as PolicyConfig
from headrace_kit.config.nearest import nearest
from headrace_kit.config.snapshot import KEPT
from headrace_kit.errors import BadInput, NotFound, NotReady

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Broken:
    """A policy that could not be compiled, and why."""

    reason: str


class Policies:
    """Compiled policies by snapshot and name. A policy that stays the same from one snapshot to the next is kept."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._current: dict[str, Policy | _Broken] = {}
        self._by_hash: dict[str, dict[str, Policy | _Broken]] = {}
        self._compiled: dict[str, Policy | _Broken] = {}

    def apply(self, digest: str, sections: Mapping[str, PolicyConfig]) -> None:
        """Make the policies of a snapshot the current ones.

        A policy that cannot be compiled takes nothing else down: it is listed in `problems`, and calls that name it
        are refused, so that no text passes unchecked.
        """
        written = {name: section.model_dump_json() for name, section in sections.items()}
        self._current = {
            name: self._compiled.get(written[name]) or self._compile(name, section)
            for name, section in sections.items()
        }
        self._compiled = {written[name]: policy for name, policy in self._current.items()}
        self._by_hash.pop(digest, None)
        self._by_hash[digest] = self._current
        while len(self._by_hash) > KEPT:
            self._by_hash.pop(next(iter(self._by_hash)))

    def get(self, name: str, digest: str = "") -> Policy:
        """A policy, as the snapshot `digest` has it; as the current one has it when that snapshot is not kept.

        Raises:
            BadInput: no name.
            NotFound: there is no such policy; the nearest name is proposed.
            NotReady: it cannot be compiled.
        """
        if not name:
            raise BadInput("name a policy of the config", param="policy")
        known = self._by_hash.get(digest, self._current)
        found = known.get(name)
        if found is None:
            raise NotFound(f"no policy {name!r}{nearest(name, known)}", code="policy_not_found", param="policy")
        if isinstance(found, _Broken):
            raise NotReady(f"the policy {name!r} cannot be used: {found.reason}", param="policy")
        return found

    def listed(self) -> dict[str, Policy]:
        """The current policies that can be used, by name."""
        return {name: policy for name, policy in sorted(self._current.items()) if isinstance(policy, Policy)}

    def problems(self) -> list[str]:
        """A line for each current policy that cannot be used."""
        current = self._current.items()
        return [f"guardrails.{name}: {policy.reason}" for name, policy in current if isinstance(policy, _Broken)]

    def _compile(self, name: str, section: PolicyConfig) -> Policy | _Broken:
        try:
            return self._compiler(section)
        except BadInput as error:
            reason = f"{error.param}: {error.message}" if error.param else error.message
            _log.error("the policy %s cannot be compiled: %s", name, reason)
            return _Broken(reason)
