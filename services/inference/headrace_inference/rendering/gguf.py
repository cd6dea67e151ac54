"""The header of a GGUF file: what kind its weights are and how large its cache gets.

The format is described in llama.cpp's docs (ggml/docs/gguf.md). Only scalars and short arrays are kept: a vocabulary of
150,000 strings is skipped, not read, which is why this is not the `gguf` package (seconds, and numpy).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from headrace_kit.errors import BadInput

KINDS = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k", 11: "q3_k_s", 12: "q3_k_m",
    13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m", 18: "q6_k", 19: "iq2_xxs", 20: "iq2_xs",
    21: "q2_k_s", 22: "iq3_xs", 23: "iq3_xxs", 24: "iq1_s", 25: "iq4_nl", 26: "iq3_s", 27: "iq3_m", 28: "iq2_s",
    29: "iq2_m", 30: "iq4_xs", 31: "iq1_m", 32: "bf16", 36: "tq1_0", 37: "tq2_0", 38: "mxfp4_moe",
}  # fmt: skip
"""`general.file_type`: llama.cpp's `enum llama_ftype`."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 1024
"""Elements of an array that is kept: one a layer, at most."""

_MOST = 1 << 28
"""Bytes of a string or an array that are believed; a damaged file claims anything."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is read of a GGUF file."""

    values: dict[str, Any]

    @property
    def kind(self) -> str:
        """How most weights are stored, for example `q4_k_m`; empty where the file does not say."""
        number = self.values.get("general.file_type")
        return "" if number is None else KINDS.get(number, f"type {number}")

    def cache_elements(self) -> int | None:
        """Numbers that the key-value cache holds for a token, over all layers; None where the file does not say."""
        heads = self._of("attention.head_count")
        width = self._of("embedding_length")
        layers = self._of("block_count")
        if not (isinstance(layers, int) and isinstance(width, int) and heads):
            return None
        per_layer = self._of("attention.head_count_kv") or heads
        kv_heads = sum(per_layer) if isinstance(per_layer, list) else layers * per_layer
        default = width // (max(heads) if isinstance(heads, list) else heads)
        keys = self._of("attention.key_length") or default
        return int(kv_heads * (keys + (self._of("attention.value_length") or keys)))

    def _of(self, key: str) -> Any:
        return self.values.get(f"{self.values.get('general.architecture', '')}.{key}")


def read(path: Path) -> Header:
    """Read a file's header.

    Raises:
        BadInput: it is not a GGUF file, or its header is damaged or cut off.
    """
    try:
        with path.open("rb") as file:
            return Header(_header(file))
    except (struct.error, ValueError, KeyError, UnicodeDecodeError, EOFError) as error:
        raise BadInput(f"{path.name} is not a GGUF file, or is damaged: {error}") from error


def _header(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version, _tensors, count = _take(file, "<IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version} of the format is unknown")
    values: dict[str, Any] = {}
    for _ in range(min(count, 1 << 16)):
        key = _string(file)
        (kind,) = _take(file, "<I")
        value = _value(file, kind)
        if value is not None:
            values[key] = value
    return values


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        return _array(file)
    return _take(file, "<" + _SCALARS[kind])[0]


def _array(file: BinaryIO) -> list[Any] | None:
    kind, count = _take(file, "<IQ")
    if kind == _STRING:
        for _ in range(min(count, _MOST)):
            _skip(file, _take(file, "<Q")[0])
        return None
    size = struct.calcsize("<" + _SCALARS[kind])
    if count > _LONGEST:
        _skip(file, count * size)
        return None
    return list(_take(file, f"<{count}{_SCALARS[kind]}"))


def _string(file: BinaryIO) -> str:
    (length,) = _take(file, "<Q")
    if length > _MOST:
        raise ValueError(f"a string of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise EOFError("the header is cut off")
    return data.decode("utf-8", "replace")


def _take(file: BinaryIO, form: str) -> tuple[Any, ...]:
    size = struct.calcsize(form)
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the header is cut off")
    return struct.unpack(form, data)


def _skip(file: BinaryIO, size: int) -> None:
    if size > _MOST:
        raise ValueError(f"an array of {size} bytes")
    file.seek(size, 1)
