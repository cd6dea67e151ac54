"""Keyed digests and encryption, under keys derived from one secret."""

from __future__ import annotations

import secrets
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_VERSION = b"\x01"


class Vault:
    """See the port `Vault`.

    Args:
        secret: of any length; None draws one that dies with the process, so that nothing can be kept in full.
    """

    def __init__(self, secret: str | None) -> None:
        self.lasting = secret is not None
        root = blake2b((secret or secrets.token_urlsafe(32)).encode(), digest_size=32).digest()

        def derived(purpose: bytes) -> bytes:
            return blake2b(purpose, key=root, digest_size=32).digest()

        self.tokens = derived(b"tokens")
        self._digests = derived(b"digests")
        self._cipher = AESGCM(derived(b"content"))

    def digest(self, tenant: str, value: str) -> str:
        """See `Vault`."""
        return blake2b(f"{tenant}\0{value}".encode(errors="replace"), key=self._digests, digest_size=12).hexdigest()

    def seal(self, content: bytes, place: bytes) -> bytes:
        """See `Vault`."""
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, content, place)

    def unseal(self, sealed: bytes, place: bytes) -> bytes | None:
        """See `Vault`."""
        if sealed[:1] != _VERSION:
            return None
        try:
            return self._cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], place)
        except InvalidTag:
            return None
