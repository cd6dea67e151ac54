"""Sessions of the console: logged in by key once, then known by a signed token that holds no key. And services of ours
that use the public API as a tenant would, known by the tokens that they sign.

A session needs no store: its token names the key by its id, so it ends with the key (expired, revoked, given a new
secret), or after its own time. Every replica has the same signing key, so it holds at all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace_gateway.admission.identity import CHOOSE_ARM
from headrace_gateway.admission.keys import ApiKey, KeyRing, UnknownKey
from headrace_kit.errors import Unauthenticated
from headrace_kit.rpc.identity import Signer, Verifier

AUDIENCE = "console"
"""Of the tokens. No service has this name, so none takes one for a service's word."""
_JWT = "eyJ"
"""How every signed token begins, and no key does."""

SERVICES = frozenset({"rollout"})
"""Services that may ask models as a tenant: rollout, to put candidates to evaluation suites."""

SCHEME = "Session"
"""Of `authorization`, for a session's token instead of a key."""


@dataclass(frozen=True, slots=True)
class Session:
    """One that begins: the key behind it, its token, and when it ends, in seconds since 1970."""

    key: ApiKey
    token: str
    expires_at: int


class Sessions:
    """Keys, sessions and services alike at the door.

    Args:
        ring: all keys.
        signer: signs as the gateway.
        verifier: of `AUDIENCE`.
        life_s: how long a session lasts.
        services: verifies what services of ours sign for the gateway.
    """

    def __init__(
        self, ring: KeyRing, signer: Signer, verifier: Verifier, life_s: Callable[[], float], services: Verifier
    ) -> None:
        self._ring, self._signer, self._verifier, self._life_s = ring, signer, verifier, life_s
        self._services = services

    async def begin(self, secret: str) -> Session:
        """Log in. Raises Unauthenticated: no usable key."""
        try:
            key = self._ring.by_secret(secret.strip())
        except UnknownKey:
            await self._ring.learn()
            key = self._ring.by_secret(secret.strip())
        now = int(time.time())
        ends = now + int(self._life_s())
        if key.expires_at is not None:
            ends = min(ends, int(key.expires_at))
        claims = {"iss": "gateway", "aud": AUDIENCE, "iat": now, "exp": ends, "key": key.id}
        return Session(key, self._signer.sign(claims), ends)

    def authenticate(self, authorization: str) -> ApiKey:
        """See `Callers`.

        Raises:
            Unauthenticated: no usable key, or a session that ended.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token.startswith(_JWT):
            return self._service(token)
        if scheme != SCHEME:
            return self._ring.authenticate(authorization)
        try:
            claims = self._verifier.claims(token)
        except Unauthenticated as error:
            raise Unauthenticated("this session has ended: log in again", code="session_ended") from error
        key = self._ring.by_id(str(claims.get("key", "")))
        if key.rotated_at is not None and key.rotated_at >= claims["iat"]:
            raise Unauthenticated("this session's key was replaced: log in with its new secret", code="session_ended")
        return key

    def _service(self, token: str) -> ApiKey:
        identity = self._services.identity(token)
        if identity.service not in SERVICES or not identity.tenant:
            raise Unauthenticated(f"the service {identity.service!r} has no business at this door")
        name = f"service {identity.service}"
        return ApiKey(name, identity.tenant, name, frozenset({CHOOSE_ARM}), b"")

    async def learn(self) -> None:
        """See `Callers`."""
        await self._ring.learn()
