"""Why llama.cpp could not load something: it only says so on stderr."""

import contextlib
import os
import re
import tempfile
import time

_REASON = re.compile(
    r"(?:error loading model|failed to open GGUF file|gguf_init_from_\w+|llama_adapter_lora_init\w*"
    r"|failed to initialize speculative decoding context): (.+)"
)
_ADAPTER = re.compile(r"failed to load lora adapter '([^']+)'")
_AGAIN = "failed to load model from"


@contextlib.contextmanager
def recorded():
    """Keep what this process writes to stderr; yields a function that returns it. At the end it goes to stderr."""
    with tempfile.TemporaryFile() as file:
        real = os.dup(2)
        os.dup2(file.fileno(), 2)

        def text():
            # Not by the file's own position, which is where llama.cpp writes next.
            return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode("utf-8", "replace")

        try:
            yield text
        finally:
            os.dup2(real, 2)
            os.close(real)
            with open(2, "w", closefd=False) as stderr:
                stderr.write(text())


def told(log, within_s=2.0):
    """The first reason in what `log` returns, or an empty string: a thread of llama.cpp writes it, maybe late."""
    deadline = time.monotonic() + within_s
    while True:
        found = reason(log())
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def reason(log):
    """The first reason in llama.cpp's log, or an empty string."""
    found = [reason.strip() for reason in _REASON.findall(log) if _AGAIN not in reason]
    adapter = _ADAPTER.search(log)
    if adapter:
        found = ["LoRA adapter %s: %s" % (adapter.group(1), found[0] if found else "it cannot be read")]
    return found[0] if found else ""
