"""What bytes are, by their first ones: a name or a header proves nothing."""

from __future__ import annotations

IMAGES = "png, jpeg, gif or webp"
AUDIO = "wav or mp3"


def image_type(data: bytes) -> str | None:
    """The media type of an image that engines take; None for everything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def audio_format(data: bytes) -> str | None:
    """`wav`, `mp3`, or None."""
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return "wav"
    # A tag, or a frame's eleven set bits followed by layer III.
    if data.startswith(b"ID3") or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2):
        return "mp3"
    return None
