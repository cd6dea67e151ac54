"""Puts images into messages, and checks what is in them already."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Coroutine, Mapping
from typing import Any

from headrace_inference.media.fetch import fetch_image, image_fetcher
from headrace_inference.media.kinds import AUDIO, IMAGES, audio_format, image_type
from headrace_kit.config.services import Media as MediaSettings
from headrace_kit.errors import BadInput
from headrace_kit.fetching import CannotFetchError, Fetcher, Limits

Json = Mapping[str, Any]

_DATA = re.compile(r"data:(image/[\w.+-]+);base64,", re.IGNORECASE)
_AT_ONCE = 32
"""Images fetched at one time, over all requests."""

_LARGE = 262_144
"""Characters of base64 from which decoding is left to a thread."""


class Media:
    """Checks and fetches.

    Args:
        settings: limits.
        fetcher: fetches images; made from the settings by default.
    """

    def __init__(self, settings: MediaSettings, fetcher: Fetcher | None = None) -> None:
        self._settings = settings
        limits = Limits(settings.max_bytes, settings.timeout, settings.allow_networks)
        self._fetcher = fetcher or image_fetcher(limits)
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def inline(self, messages: tuple[Json, ...]) -> tuple[Json, ...]:
        """The messages with every image as a checked data URL, and audio checked. Others are as they were.

        Raises:
            BadInput: `param` names the part.
        """
        jobs: dict[tuple[int, int], Coroutine[Any, Any, Json]] = {}
        for number, message in enumerate(messages):
            if not isinstance(message.get("content"), str | None):
                for place, part in enumerate(message["content"]):
                    where = f"messages[{number}].content[{place}]"
                    if part["type"] == "image_url":
                        jobs[number, place] = self._image(part, f"{where}.image_url")
                    elif part["type"] == "input_audio":
                        jobs[number, place] = self._audio(part, f"{where}.input_audio")
        if len(jobs) > self._settings.max_parts:
            for job in jobs.values():
                job.close()
            most = self._settings.max_parts
            raise BadInput(f"a request holds at most {most} images and sounds, not {len(jobs)}", param="messages")
        found = await _all(jobs)
        return tuple(
            {**message, "content": [found.get((number, place), part) for place, part in enumerate(message["content"])]}
            if any(at == number for at, _ in found)
            else message
            for number, message in enumerate(messages)
        )

    async def _image(self, part: Json, where: str) -> Json:
        url = part["image_url"]["url"]
        if url[:5].lower() == "data:":
            kind, encoded = await self._checked(url, where)
        elif not self._settings.fetch:
            raise _bad("images are data URLs here: addresses are not fetched", where)
        else:
            try:
                async with self._room:
                    data, kind = await fetch_image(self._fetcher, url)
            except CannotFetchError as error:
                raise _bad(str(error), where) from None
            encoded = base64.b64encode(data).decode()
        return {**part, "image_url": {**part["image_url"], "url": f"data:{kind};base64,{encoded}"}}

    async def _checked(self, url: str, where: str) -> tuple[str, str]:
        start = _DATA.match(url)
        if start is None:
            raise _bad(f"an image's data URL is data:image/...;base64,... with {IMAGES}", where)
        encoded = url[start.end() :]
        kind = image_type(await self._decoded(encoded, where))
        if kind is None:
            raise _bad(f"the data is not {IMAGES}", where)
        return kind, encoded

    async def _audio(self, part: Json, where: str) -> Json:
        audio = part["input_audio"]
        found = audio_format(await self._decoded(audio["data"], f"{where}.data"))
        if found is None or found != audio.get("format"):
            raise _bad(f"the data is not {AUDIO}, as format says", f"{where}.format" if found else f"{where}.data")
        return part

    async def _decoded(self, encoded: str, where: str) -> bytes:
        """The first bytes of base64 that is valid to its end."""
        most = self._settings.max_bytes
        if len(encoded) // 4 * 3 > most + 2:
            raise _bad(f"larger than {most} bytes", where)
        try:
            if len(encoded) < _LARGE:
                return base64.b64decode(encoded, validate=True)[:16]
            return (await asyncio.to_thread(base64.b64decode, encoded, validate=True))[:16]
        except (binascii.Error, ValueError):
            raise _bad("not base64", where) from None


async def _all(jobs: Mapping[tuple[int, int], Coroutine[Any, Any, Json]]) -> dict[tuple[int, int], Json]:
    """What the jobs give; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {at: group.create_task(job) for at, job in jobs.items()}
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {at: task.result() for at, task in tasks.items()}


def _bad(message: str, param: str) -> BadInput:
    return BadInput(message, code="invalid_media", param=param)
