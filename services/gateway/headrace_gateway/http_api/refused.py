"""Fields of OpenAI's requests that are known and not supported: refused by name, but for values that ask for nothing.

In the structs of requests such a field has the type `Any | UnsetType`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from headrace_kit.errors import BadInput

UNSUPPORTED = "unsupported_parameter"
"""Code of the error that names such a field."""

HARMLESS: dict[str, tuple[Any, ...]] = {
    "annotations": ([],),
    "background": (False,),
    "context_management": ([],),
    "include_obfuscation": (False,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "mode": ("standard",),
    "priority": (0,),
    "prompt_cache_retention": ("in_memory",),
    "rank_fields": (["text"],),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "summary": ("auto",),
    "truncation": ("disabled",),
    "verbosity": ("medium",),
}
"""Values of refused fields that ask for nothing beyond what is done anyway."""

REASONS = {
    "background": "nothing is stored here: stream the response instead",
    "conversation": "nothing is stored here: send the conversation's items in input",
    "file_id": "nothing is stored here: send the image in image_url",
    "previous_response_id": "nothing is stored here: send the conversation's items in input",
    "store": "nothing is stored here: send false, or leave it out",
}
"""Why, and what to do instead, where 'leave it out' does not say it all."""


def refuse(body: Struct, where: str = "") -> None:
    """Raises BadInput naming the first field of a body that was set and is not supported.

    Args:
        body: a decoded struct.
        where: its place in the request, which the name is put behind.
    """
    names, values, nothing = _fields(type(body))
    if not names or values(body) == nothing:
        return
    for name in names:
        value = getattr(body, name)
        if value is not UNSET and value is not None and value not in HARMLESS.get(name, ()):
            place = f"{where}.{name}" if where else name
            raise BadInput(
                f"{place} is not supported; {REASONS.get(name, 'leave it out')}", code=UNSUPPORTED, param=place
            )


@cache
def _fields(kind: type[Struct]) -> tuple[tuple[str, ...], Callable[[Struct], Any], Any]:
    """Names of such fields, what reads all of them at once, and what that is when none was sent."""
    names = unsupported(kind)
    values = attrgetter(*names) if names else (lambda _: None)
    return names, values, UNSET if len(names) == 1 else (UNSET,) * len(names)


@cache
def unsupported(kind: type[Struct]) -> tuple[str, ...]:
    """Names of a struct's fields that are known and not supported."""
    return tuple(field.name for field in msgspec.structs.fields(kind) if field.default is UNSET)
