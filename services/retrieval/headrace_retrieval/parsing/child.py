"""Reads one file in a process of its own: python -m headrace_retrieval.parsing.child <format> <seconds> <bytes>.

The file comes on stdin, the text goes to stdout as JSON. Whatever a file does to its reader, it does it here: memory
and CPU time are limited, and the service goes on.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace_retrieval.parsing.formats import Format
from headrace_retrieval.parsing.parsed import MAX_TEXT_BYTES, Parsed, Refused


class Answer(msgspec.Struct, omit_defaults=True):
    """What goes to stdout: one of the two."""

    parsed: Parsed | None = None
    refused: str = ""


def reader(kind: Format) -> Callable[[bytes], Parsed]:
    """Who reads a format; imported only when it is needed, some are large."""
    match kind:
        case Format.PDF:
            from headrace_retrieval.parsing import pdf

            return pdf.read
        case Format.DOCX | Format.PPTX | Format.XLSX:
            from headrace_retrieval.parsing import office

            return office.READERS[kind.value]
        case Format.HTML:
            from headrace_retrieval.parsing import web

            return web.read
        case Format.EMAIL:
            from headrace_retrieval.parsing import mail

            return mail.read
    from headrace_retrieval.parsing import plain

    return {Format.CSV: plain.comma_separated, Format.MARKDOWN: plain.markdown, Format.TEXT: plain.text}[kind]


def read(kind: Format, content: bytes) -> Answer:
    """Read a file; what its reader stumbles over is the file's fault."""
    try:
        parsed = reader(kind)(content)
    except Refused as refused:
        return Answer(refused=str(refused))
    except MemoryError:
        return Answer(refused="reading it takes more memory than a document may")
    except RecursionError:
        return Answer(refused="it is nested too deep")
    except Exception as error:
        return Answer(refused=f"the .{kind.value} file is broken or cut off ({type(error).__name__})")
    if not parsed.text:
        return Answer(refused="there is no text in it")
    if len(parsed.text.encode()) > MAX_TEXT_BYTES:
        return Answer(refused=f"its text is larger than {MAX_TEXT_BYTES} bytes; split the document")
    return Answer(parsed=parsed)


def main(kind: str, cpu_s: str, memory_bytes: str) -> None:
    """Read stdin, write stdout."""
    limits = ((resource.RLIMIT_CPU, int(cpu_s)), (resource.RLIMIT_AS, int(memory_bytes)), (resource.RLIMIT_CORE, 0))
    for limit, value in limits:
        with contextlib.suppress(ValueError, OSError):  # the system's own limit is lower already
            resource.setrlimit(limit, (value, value))
    os.nice(5)  # searches go first
    out = os.fdopen(os.dup(1), "wb")
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - to its end; a reader may print what stands in the file
    sys.stdout = sys.stderr = nowhere
    os.dup2(nowhere.fileno(), 1)  # of the error output only what a crash says is left
    with out:
        out.write(msgspec.json.encode(read(Format(kind), sys.stdin.buffer.read())))


if __name__ == "__main__":
    main(*sys.argv[1:])
