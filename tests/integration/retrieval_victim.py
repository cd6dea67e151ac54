"""A replica of retrieval in a process of its own, to be killed: python retrieval_victim.py <data dir> <port> <open>.

It makes every document that it embeds wait forever unless `open` is `open`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

from headrace_kit.config import Environment


async def main(data_dir: str, port: str, gate: str) -> None:
    """Serve until killed."""
    path = Path(__file__).with_name("retrieval_replica.py")
    spec = importlib.util.spec_from_file_location("retrieval_replica", path)
    kit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kit)
    config = kit.CONFIG.replace("grpc_port: 0", f"grpc_port: {port}")
    async with kit.serving(SimpleNamespace(), config, env=Environment(data_dir=Path(data_dir))) as replica:
        if gate != "open":
            replica.models.gate.clear()
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
