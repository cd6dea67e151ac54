"""Texts that wait on a disk or in a store, sealed so that only this service can read them."""

from __future__ import annotations

import hmac
import os
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class Seal:
    """AES-256-GCM under keys that are derived from one secret word.

    Args:
        word: the secret `guardrails-key`; any text with enough entropy.
    """

    def __init__(self, word: str) -> None:
        self._cipher = AESGCM(_derived(word, b"seal"))
        self._digests = _derived(word, b"digest")

    def close(self, text: str, about: str) -> bytes:
        """Seal a text. `about` says what it belongs to; opening it needs the same."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(errors="replace"), about.encode())

    def open(self, sealed: bytes, about: str) -> str:
        """The text.

        Raises:
            ValueError: it was sealed under another word, about something else, or changed since.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode()).decode()
        except InvalidTag as error:
            raise ValueError("what was sealed cannot be opened with this key") from error

    def digest(self, *parts: str) -> bytes:
        """A keyed digest of some texts, equal when all of them are."""
        sized = b"".join(len(part).to_bytes(8) + part for part in (p.encode(errors="replace") for p in parts))
        return hmac.digest(self._digests, sized, sha256)


def _derived(word: str, purpose: bytes) -> bytes:
    return hmac.digest(word.encode(), b"headrace-guardrails-" + purpose, sha256)
