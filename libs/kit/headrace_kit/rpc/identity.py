"""Signed service identities: a JWT (EdDSA, RFC 8037), audience = the service called, life 60 s.

Each service signs with its own key, `<secrets>/signing/<service>.pem`; all read the public keys in
`<secrets>/signing/jwks.json` (RFC 7517). A key is named by its `kid`; both files are read again when they change, so
keys rotate by adding the new public key, then swapping the private one, then removing the old public key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from headrace_kit.errors import NotReady, Unauthenticated
from headrace_kit.rpc.call import Identity

LIFE_S = 60
_REUSE_S = 30
_CACHE = 10_000


class Signer:
    """Makes tokens for one service; a token is reused for 30 s per identity and audience (a signature costs ~50 us)."""

    def __init__(self, service: str, folder: Path) -> None:
        self._service = service
        self._path = folder / f"{service}.pem"
        self._key: tuple[float, str, Ed25519PrivateKey] | None = None
        self._made: dict[tuple[Identity, str], tuple[float, str]] = {}

    def token(self, identity: Identity, audience: str) -> str:
        """A token that tells `audience` on whose behalf this service calls.

        Raises:
            NotReady: the signing key is missing.
        """
        now = time.time()
        made = self._made.get((identity, audience))
        if made and made[0] > now:
            return made[1]
        claims = {
            "iss": self._service,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + LIFE_S,
            "tenant": identity.tenant,
            "key": identity.key_id,
            "user": identity.user,
            "groups": list(identity.groups),
            "scopes": sorted(identity.scopes),
        }
        token = self.sign(claims)
        if len(self._made) >= _CACHE:
            self._made.clear()
        self._made[identity, audience] = (now + _REUSE_S, token)
        return token

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims; `iss` is this service, or no verifier takes it.

        Raises:
            NotReady: the signing key is missing.
        """
        kid, key = self._load()
        return jwt.encode(dict(claims), key, algorithm="EdDSA", headers={"kid": kid})

    def _load(self) -> tuple[str, Ed25519PrivateKey]:
        try:
            changed = self._path.stat().st_mtime
            if self._key is None or self._key[0] != changed:
                key = jwt.algorithms.OKPAlgorithm().prepare_key(self._path.read_bytes())
                if not isinstance(key, Ed25519PrivateKey):
                    raise NotReady(f"{self._path} is not an Ed25519 private key")
                self._key = (changed, key_id(key), key)
        except OSError as error:
            raise NotReady(f"the signing key {self._path} cannot be read: {error.strerror}") from error
        return self._key[1], self._key[2]


class Verifier:
    """Checks tokens that were made for one service; a token once seen is trusted until it expires."""

    def __init__(self, audience: str, folder: Path) -> None:
        self._audience = audience
        self._path = folder / "jwks.json"
        self._keys: tuple[float, dict[str, Any]] = (0.0, {})
        self._seen: dict[str, tuple[float, Identity]] = {}

    def identity(self, token: str) -> Identity:
        """The identity that a token states.

        Raises:
            Unauthenticated: not signed by a known key, not for this service, or expired.
        """
        now = time.time()
        seen = self._seen.get(token)
        if seen and seen[0] > now:
            return seen[1]
        claims = self.claims(token)
        identity = Identity(
            service=claims["iss"],
            tenant=claims["tenant"],
            key_id=claims["key"],
            user=claims["user"],
            groups=tuple(claims["groups"]),
            scopes=frozenset(claims["scopes"]),
        )
        if len(self._seen) >= _CACHE:
            self._seen.clear()
        self._seen[token] = (float(claims["exp"]), identity)
        return identity

    def claims(self, token: str) -> dict[str, Any]:
        """What a token says, once it is known to be whole: signed by the service that it names, for this audience, and
        not expired.

        Raises:
            Unauthenticated: it is not.
        """
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            key = self._public(kid)
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], audience=self._audience, leeway=2)
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"service token refused: {error}") from error
        if self._keys[1][kid][1] != claims.get("iss"):
            raise Unauthenticated("service token refused: signed with another service's key")
        return claims

    def _public(self, kid: str) -> Any:
        try:
            changed = self._path.stat().st_mtime
            if changed != self._keys[0]:
                listed = json.loads(self._path.read_text())["keys"]
                self._keys = (changed, {entry["kid"]: (jwt.PyJWK(entry).key, entry["use_by"]) for entry in listed})
        except OSError as error:
            raise Unauthenticated(f"{self._path} cannot be read: {error.strerror}") from error
        if kid not in self._keys[1]:
            raise Unauthenticated("service token refused: unknown signing key")
        return self._keys[1][kid][0]


def key_id(key: Ed25519PrivateKey) -> str:
    """`kid` of a key: its JWK thumbprint's stand-in, the first 16 characters of the public value."""
    return str(public_jwk(key)["x"])[:16]


def public_jwk(key: Ed25519PrivateKey) -> dict[str, Any]:
    """The public half as a JWK without `kid`."""
    made: dict[str, Any] = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return made


def write_keys(folder: Path, services: tuple[str, ...]) -> None:
    """Make the signing keys that are missing and write `jwks.json`; files are readable by their owner only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    listed = []
    for service in services:
        path = folder / f"{service}.pem"
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _write(path, pem)
        key = jwt.algorithms.OKPAlgorithm().prepare_key(path.read_bytes())
        if not isinstance(key, Ed25519PrivateKey):
            raise NotReady(f"{path} is not an Ed25519 private key")
        listed.append({**public_jwk(key), "kid": key_id(key), "use_by": service})
    _write(folder / "jwks.json", json.dumps({"keys": listed}, indent=1).encode())


def _read_private(path: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise NotReady(f"{path} is not an Ed25519 private key")
    return key


def _write(path: Path, content: bytes) -> None:
    scratch = path.with_suffix(".new")
    scratch.touch(mode=0o600)
    scratch.write_bytes(content)
    scratch.replace(path)
