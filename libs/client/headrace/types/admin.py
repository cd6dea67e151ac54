"""What platform engineers see: keys, rollouts, the config in force."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class CreatedKey(Struct):
    """A new key. `key` is shown this once."""

    id: str
    key: str


class Key(Struct):
    """A key without its secret. Times are RFC 3339; empty or None: never."""

    id: str
    tenant: str = ""
    name: str = ""
    scopes: list[str] = field(default_factory=list)
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None


class Rollout(Struct):
    """The swap of a model to its candidate. `weight` and `shadow` are in 1/10000."""

    id: str
    model: str = ""
    state: str = ""
    step: int = 0
    steps: int = 0
    weight: int = 0
    shadow: int = 0
    reason: str = ""
    source: str = ""
    spec: dict[str, Any] | None = None
    created_at: str | None = None
    step_started_at: str | None = None


class ConfigVersion(Struct):
    """Hash of the config that new requests are served under, of a newer one on its way, and why one was refused."""

    active: str
    pending: str = ""
    error: str = ""
