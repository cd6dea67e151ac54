"""API keys, in memory: looked up by hash, so that a request touches no store."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from headrace_kit.errors import Unauthenticated

SCOPES = frozenset({"admin", "assert_identity", "read_all", "review"})
"""What a key may be allowed beyond using its tenant's models and documents."""

BOOTSTRAP_ID = "bootstrap"
BOOTSTRAP_TENANT = "admin"
_PREFIX = "hr_"


class UnknownKey(Unauthenticated):
    """No key here has this secret; another replica may have made it a moment ago."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one key, besides its tenant's; None: no limit of its own. Rates hold over all replicas."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    """At one time, per gateway replica."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. Times are seconds since 1970; None: never."""

    id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    digest: bytes
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    rotated_at: float | None = None
    previous: bytes | None = None
    """Digest of the secret before the last rotation, good until `previous_until`."""
    previous_until: float = 0.0
    limits: KeyLimits | None = None

    def usable(self, now: float) -> bool:
        """Whether it opens the door at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyRing:
    """All keys of the platform. `update` merges what a store knows; the bootstrap key needs no store.

    Args:
        bootstrap: the admin key that exists before any other, or None.
    """

    def __init__(self, bootstrap: str | None) -> None:
        self._by_digest: dict[bytes, ApiKey] = {}
        self._digests_of: dict[str, tuple[bytes, ...]] = {}
        self.loaded = False
        self.learn: Callable[[], Awaitable[None]] = _nothing_new
        """Asks the store for what has changed; returns also when that is away."""
        if bootstrap:
            key = ApiKey(BOOTSTRAP_ID, BOOTSTRAP_TENANT, "bootstrap", frozenset({"admin"}), digest_of(bootstrap))
            self._by_digest[key.digest] = key
            self._digests_of[key.id] = (key.digest,)

    def update(self, keys: Iterable[ApiKey]) -> None:
        """Take keys as the store has them now: new ones, and newer states of known ones."""
        for key in keys:
            for old in self._digests_of.get(key.id, ()):
                self._by_digest.pop(old, None)
            digests = (key.digest,) if key.previous is None else (key.digest, key.previous)
            self._digests_of[key.id] = digests
            for digest in digests:
                self._by_digest[digest] = key
        self.loaded = True

    def authenticate(self, authorization: str) -> ApiKey:
        """The key of an `authorization` header.

        Raises:
            Unauthenticated: none was sent, or it is unknown, expired or revoked; which, only a holder learns.
        """
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthenticated(
                "no API key: send it as 'Authorization: Bearer hr_...'", code="missing_api_key", param="authorization"
            )
        return self.by_secret(secret)

    def by_secret(self, secret: str) -> ApiKey:
        """The key whose secret this is. Raises Unauthenticated: unknown, replaced, expired or revoked."""
        digest, now = digest_of(secret), time.time()
        key = self._by_digest.get(digest)
        if key is None:
            raise UnknownKey("this API key is not known; check it, or ask for a new one")
        if digest == key.previous and now >= key.previous_until:
            raise Unauthenticated("this API key was replaced; use its new secret", code="rotated_api_key")
        return _usable(key, now)

    def by_id(self, key_id: str) -> ApiKey:
        """The key of this id. Raises Unauthenticated: unknown, expired or revoked."""
        digests = self._digests_of.get(key_id)
        if not digests:
            raise UnknownKey("this API key is not known; check it, or ask for a new one")
        return _usable(self._by_digest[digests[0]], time.time())


def _usable(key: ApiKey, now: float) -> ApiKey:
    if not key.usable(now):
        state = "revoked" if key.revoked_at is not None else "expired"
        raise Unauthenticated(f"this API key was {state}; ask for a new one", code=f"{state}_api_key")
    return key


async def _nothing_new() -> None:
    pass


def new_secret() -> str:
    """A fresh key: `hr_` and 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """What is kept of a key. It is random and long, so a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
