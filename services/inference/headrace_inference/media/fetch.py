"""Fetches images that requests name by address."""

from __future__ import annotations

from headrace_inference.media.kinds import IMAGES, image_type
from headrace_kit.fetching import CannotFetchError, Fetcher, Limits, Resolve
from headrace_kit.fetching.fetcher import system_resolve


def image_fetcher(limits: Limits, resolve: Resolve = system_resolve) -> Fetcher:
    """What `fetch_image` fetches by."""
    return Fetcher(
        limits,
        resolve,
        what="image",
        accept="image/png, image/jpeg, image/webp, image/gif",
        reads=lambda content_type, encoded: content_type.startswith("image/") and not encoded,
    )


async def fetch_image(fetcher: Fetcher, address: str) -> tuple[bytes, str]:
    """The image behind an address, and its media type.

    Raises:
        CannotFetchError: it may not be fetched, or cannot, or is no image.
    """
    found = await fetcher.fetch(address)
    kind = image_type(found.body[:16])
    if kind is None:
        raise CannotFetchError(f"what the image's address answers with is not {IMAGES}")
    return found.body, kind
