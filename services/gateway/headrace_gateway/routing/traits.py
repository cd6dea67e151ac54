"""What conditions of deployments are about, read from a request once."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

from headrace_kit.config.routing import Script, When
from headrace_protos.common.v1.chat_pb2 import Message
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_BYTES_PER_TOKEN = 4
_LETTERS = 512
_SCRIPTS = frozenset(get_args(Script))
_ALIASES = {"cjk": "han", "hiragana": "kana", "katakana": "kana"}


@dataclass(frozen=True, slots=True)
class Traits:
    """Properties of a request. `script` is empty where its words have no letters."""

    input_tokens: int
    tools: bool = False
    image: bool = False
    audio: bool = False
    script: str = ""
    response_format: str = "text"
    metadata: Mapping[str, str] | None = None

    def meet(self, when: When) -> bool:
        """Whether everything holds that a condition asks for."""
        for name in ("tools", "image", "audio"):
            wanted = getattr(when, name)
            if wanted is not None and wanted is not getattr(self, name):
                return False
        tokens = when.input_tokens
        if tokens is not None and (
            self.input_tokens < tokens.at_least or (tokens.at_most is not None and self.input_tokens > tokens.at_most)
        ):
            return False
        if when.script and self.script not in when.script:
            return False
        if when.response_format and self.response_format not in when.response_format:
            return False
        metadata = self.metadata or {}
        return all(metadata.get(key) == value for key, value in when.metadata.items())

    def taken_by(self, accepts: Sequence[str]) -> bool:
        """Whether a deployment that takes `accepts` besides text can be asked this."""
        return (not self.image or "image" in accepts) and (not self.audio or "audio" in accepts)


def traits_of(request: GenerateRequest, metadata: Mapping[str, str]) -> Traits:
    """The traits of a request for text."""
    sampling = request.sampling
    image = audio = False
    size = _bytes(request.prompt)
    for message in request.messages:
        for part in message.parts:
            kind = part.WhichOneof("part")
            image, audio = image or kind == "image", audio or kind == "audio"
            size += _bytes(part.text)
        for call in message.tool_calls:
            size += _bytes(call.arguments)
    for tool in sampling.tools:
        size += _bytes(tool.description) + _bytes(tool.parameters_json)
    return Traits(
        input_tokens=-(-size // _BYTES_PER_TOKEN),
        tools=bool(sampling.tools),
        image=image,
        audio=audio,
        script=script_of(_last_words(request.messages) or request.prompt[-_LETTERS:]),
        response_format=sampling.response_format.type or "text",
        metadata=metadata,
    )


def traits_of_texts(texts: Sequence[str]) -> Traits:
    """The traits of a request for vectors or a ranking."""
    return Traits(-(-sum(map(_bytes, texts)) // _BYTES_PER_TOKEN), script=script_of(texts[0]) if texts else "")


def script_of(text: str) -> str:
    """The writing system of most letters among a text's first ones; empty where it has none that is known.

    Unicode names each letter by its script: `CYRILLIC SMALL LETTER A`. Any kana makes a text `kana`: Japanese has Han
    characters too, and Chinese has no kana.
    """
    text = text[:_LETTERS]
    if text.isascii():
        return "latin" if any(map(str.isalpha, text)) else ""
    counts = Counter(filter(None, map(_script, text)))
    if counts["kana"]:
        counts["kana"] += counts["han"]
    return max(counts, key=lambda script: counts[script]) if counts.total() else ""


@lru_cache(8192)
def _script(char: str) -> str:
    if not char.isalpha():
        return ""
    first = unicodedata.name(char, "").split(" ", 1)[0].split("-", 1)[0].lower()
    script = _ALIASES.get(first, first)
    return script if script in _SCRIPTS else ""


def _last_words(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.role == "user":
            return "\n".join([part.text for part in message.parts if part.text])
    return ""


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
