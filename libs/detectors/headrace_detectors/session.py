"""Placeholders that stay the same for the same value through a conversation, and the way back."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_.-]{0,62}_[1-9]\d{0,8}\]")
_BEGINNING = re.compile(r"\[(?:[A-Z][A-Z0-9_.-]{0,72})?\Z")


class Session:
    """What one conversation's masks share. Pass the same one to each check of it.

    Of values that are not to come back only keyed digests are kept, under a key that is drawn for this session with
    the first one. Not thread-safe.

    Args:
        keep: keep the values too, so that `unmask` can put them back. Whoever keeps such a session keeps secrets.
    """

    __slots__ = ("_counts", "_keep", "_key", "_names", "values")

    def __init__(self, *, keep: bool = False) -> None:
        self._key = b""
        self._keep = keep
        self._names: dict[bytes, str] = {}
        self._counts: dict[str, int] = {}
        self.values: dict[str, str] = {}
        """By placeholder, what it stands for."""

    def placeholder(self, kind: str, value: str, shown: str = "") -> str:
        """What stands for `value`, for example `[EMAIL_1]`; numbers count up by kind from 1.

        Args:
            kind: what the value is.
            value: in a form that is equal wherever the value is the same.
            shown: as it was written, for `unmask`; the first one is kept.
        """
        self._key = self._key or secrets.token_bytes(16)
        digest = blake2b(f"{kind}\0{value}".encode(errors="replace"), key=self._key, digest_size=16).digest()
        name = self._names.get(digest)
        if name is None:
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
            name = self._names[digest] = f"[{kind.upper()}_{count}]"
        if self._keep and shown:
            self.values.setdefault(name, shown)
        return name

    def unmask(self, text: str) -> tuple[str, int]:
        """`text` with the values of this session in place of their placeholders, and how many were put back."""
        restored = 0

        def value(found: re.Match[str]) -> str:
            nonlocal restored
            kept = self.values.get(found[0])
            restored += kept is not None
            return found[0] if kept is None else kept

        return _PLACEHOLDER.sub(value, text), restored

    def dump(self) -> dict[str, Any]:
        """Everything, as plain values: secrets among them, so seal it."""
        names = {digest.hex(): name for digest, name in self._names.items()}
        return {"key": self._key.hex(), "names": names, "counts": self._counts, "values": self.values}

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> Session:
        """A session that goes on where the dumped one was."""
        session = cls(keep=True)
        session._key = bytes.fromhex(dumped["key"])
        session._names = {bytes.fromhex(digest): name for digest, name in dumped["names"].items()}
        session._counts = dict(dumped["counts"])
        session.values = dict(dumped["values"])
        return session


class Unmasker:
    """Puts values back into a text that arrives in pieces: holds back only what may become a placeholder."""

    __slots__ = ("_held", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held = ""

    def feed(self, delta: str) -> str:
        """Take a piece; returns what may go out."""
        text = self._held + delta
        open_at = _BEGINNING.search(text)
        cut = open_at.start() if open_at else len(text)
        self._held = text[cut:]
        return self._session.unmask(text[:cut])[0]

    def finish(self, delta: str = "") -> str:
        """Take the last piece; returns the rest."""
        text, self._held = self._held + delta, ""
        return self._session.unmask(text)[0]
