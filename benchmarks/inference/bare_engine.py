"""llama.cpp's own server, alone in a process: `python bare_engine.py <deployment's settings.json>`.

It runs in Triton's environment, on the parameters of headrace's own engine, and serves plain HTTP on a port of its
choice. The address is the only line that it prints; it ends when its input does.
"""

import json
import sys
from pathlib import Path

import xllamacpp


def main() -> None:
    """Serve until the input ends."""
    file = Path(sys.argv[1])
    sys.path.insert(0, str(file.parent))
    from triton_models.llamacpp.engine import make_params
    from triton_models.llamacpp.weights import prepared

    settings = json.loads(file.read_text("utf-8"))
    params = make_params(settings, "127.0.0.1", "")
    params.api_keys = []
    params.port = 0
    with prepared(settings) as path:
        params.model.path = path
        server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
