"""What is inside a file, whatever it is called: a pickle named `model.safetensors` is found out."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import BinaryIO

from headrace_inference.catalogue.errors import SourceFailed

_GGUF_VERSIONS = (2, 3)
_GGUF_MOST_KEYS = 1 << 20
_MOST_HEADER = 100 * 1024 * 1024
"""Longest header that safetensors itself takes."""
_MOST_JSON = 256 * 1024 * 1024
_TEXTS = (".txt", ".tiktoken", ".jinja")
_HEAD = 4096


def inspect(path: Path, name: str, *, unsafe: bool = False) -> None:
    """Look into a file whose hash is right.

    Args:
        path: the file.
        name: what the catalogue calls it; its ending says what it must be.
        unsafe: pickles are taken.

    Raises:
        SourceFailed: it is not what its name says, or can run code and may not.
    """
    ending = Path(name).suffix
    with path.open("rb") as opened:
        head = opened.read(_HEAD)
        fault = _fault(ending, head, opened, path.stat().st_size, unsafe)
    if fault:
        raise SourceFailed(f"{name} is not a {ending} file: {fault}")


def _fault(ending: str, head: bytes, opened: BinaryIO, size: int, unsafe: bool) -> str:
    """What is wrong; empty when nothing is."""
    if ending == ".gguf":
        return _gguf(head)
    if ending == ".safetensors":
        return _safetensors(opened, size)
    if ending == ".onnx":
        return "" if head[:1] == b"\x08" else "it does not start with an ONNX version"  # field 1 of ModelProto
    if ending == ".json":
        return _json(opened, size)
    if not unsafe and _runs_code(head):
        return "it is a pickle, which can run code"
    if ending in _TEXTS:
        return "it holds NUL characters, so it is no text" if b"\0" in head else ""
    return ""


def _runs_code(head: bytes) -> bool:
    """A pickle of protocol 2 or later, or an archive, in which PyTorch keeps pickles."""
    return (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or head[:4] == b"PK\x03\x04"


def _gguf(head: bytes) -> str:
    if head[:4] != b"GGUF":
        return "it does not start with GGUF"
    if len(head) < 24:
        return "its header is cut off"
    version, tensors, keys = struct.unpack_from("<IQQ", head, 4)
    if version not in _GGUF_VERSIONS:
        return f"it is of version {version}, known are {', '.join(map(str, _GGUF_VERSIONS))}"
    if tensors > _GGUF_MOST_KEYS or keys > _GGUF_MOST_KEYS:
        return f"its header counts {tensors} tensors and {keys} keys"
    return ""


def _safetensors(opened: BinaryIO, size: int) -> str:
    opened.seek(0)
    start = opened.read(8)
    if len(start) < 8:
        return "its header is cut off"
    (length,) = struct.unpack("<Q", start)
    if length > min(size - 8, _MOST_HEADER):
        return f"its header would have {length} bytes"
    try:
        header = json.loads(opened.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return "its header lists no tensors"
    if max(ends, default=0) != size - 8 - length:
        return f"its tensors end at byte {max(ends, default=0)} of {size - 8 - length}"
    return ""


def _json(opened: BinaryIO, size: int) -> str:
    if size > _MOST_JSON:
        return f"it has {size} bytes"
    opened.seek(0)
    try:
        found = json.load(opened)
    except (ValueError, RecursionError):
        return "it does not parse"
    return "" if isinstance(found, dict | list) else "it is neither an object nor a list"
