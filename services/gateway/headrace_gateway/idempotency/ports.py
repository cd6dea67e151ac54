"""What idempotency needs from outside."""

from __future__ import annotations

from typing import Protocol


class Claims(Protocol):
    """Names that all replicas see, each with one value.

    Raises:
        NotReady: from every method: the store is away.
    """

    async def claim(self, name: str, mark: bytes, lease_s: float) -> bytes | None:
        """Give `name` the value `mark` for `lease_s` seconds if it has none: None then, else the value that it has."""
        ...

    async def renew(self, name: str, mark: bytes, lease_s: float) -> None:
        """Keep a claim for `lease_s` seconds from now; nothing happens where it is no longer ours."""
        ...

    async def keep(self, name: str, mark: bytes, value: bytes, ttl_s: float) -> None:
        """Put `value` in the place of a claim, unless somebody else has claimed the name meanwhile."""
        ...

    async def release(self, name: str, mark: bytes) -> None:
        """Take a claim back; nothing happens where it is no longer ours."""
        ...
