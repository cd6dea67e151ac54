"""The process that runs llama.cpp: one JSON document of settings on stdin, one JSON reply on stdout.

Reply: `{"address"}` of the engine once it serves, or `{"error"}`. It ends when its stdin does, so it never outlives its
parent.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Load, reply, and serve until stdin ends."""
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is log
    settings = json.loads(sys.stdin.readline())
    from headrace_inference.triton_models.llamacpp.engine import Engine

    try:
        engine = Engine(settings)
    except RuntimeError as error:
        reply.write(json.dumps({"error": str(error)}) + "\n")
        reply.flush()
        return
    reply.write(json.dumps({"address": engine.address}) + "\n")
    reply.flush()
    sys.stdin.read()
    # Its memory goes with the process; taking the model apart first would only take time.
    os._exit(0)


if __name__ == "__main__":
    main()
