"""The provider's key, and whether the provider takes it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from headrace_inference.ports import EngineState
from headrace_kit.config import Secrets
from headrace_kit.config.deployments import LiteLlmDeployment
from headrace_kit.errors import NotReady

REFUSALS = 3
"""Calls in a row that the provider refused for their key, after which the deployment is taken out."""

HOLD_S = 30.0
"""How long it stays out, unless the secret changes: then a call tries again."""

UNREACHED_S = 2.0
"""The same after a call that reached nobody."""


class Access:
    """Reads the key at each call, so that a rotated secret is seen, and remembers what the provider made of it.

    Args:
        name: the deployment.
        config: its config.
        secrets: where the key is.
        clock: seconds that only grow.
    """

    def __init__(
        self, name: str, config: LiteLlmDeployment, secrets: Secrets, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._secrets, self._clock = name, secrets, clock
        self._wanted = config.credentials
        self._refusals = 0
        self._refused_at = 0.0
        self._refused_key = b""
        self._unreached_at: float | None = None

    @property
    def secret(self) -> str:
        """Name of the secret; empty where the deployment has none."""
        return self._wanted.secret if self._wanted is not None else ""

    def key(self) -> str | None:
        """The key; None where the deployment has none. Raises NotReady when the secret is not set."""
        if self._wanted is None:
            return None
        found = self._secrets.get(self._wanted)
        if not found:
            raise NotReady(f"secret {self.secret!r} of deployment {self._name!r} is not set")
        return found

    def refused(self, key: str | None) -> None:
        """The provider refused a call for this key."""
        self._refusals += 1
        self._refused_at, self._refused_key = self._clock(), _digest(key)

    def taken(self) -> None:
        """The provider took a call, whatever became of it."""
        self._refusals = 0
        self._unreached_at = None

    def unreached(self) -> None:
        """Nobody listens where the provider should be."""
        self._unreached_at = self._clock()

    def state(self) -> EngineState:
        """`ready`, or `failed` and why."""
        try:
            key = self.key()
        except NotReady as error:
            return EngineState("failed", error.message)
        held = self._refusals >= REFUSALS and self._clock() - self._refused_at < HOLD_S
        if held and _digest(key) == self._refused_key:
            what = f"the key in secret {self.secret!r}" if self.secret else "calls without a key"
            return EngineState("failed", f"the provider refuses {what}")
        if self._unreached_at is not None and self._clock() - self._unreached_at < UNREACHED_S:
            return EngineState("failed", "the provider cannot be reached")
        return EngineState("ready")


def _digest(key: str | None) -> bytes:
    return hashlib.sha256((key or "").encode()).digest()
