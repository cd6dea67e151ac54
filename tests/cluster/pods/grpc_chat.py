"""One chat over gRPC by the headrace client: `python - HOST:PORT KEY MODEL < grpc_chat.py` prints the text."""

import asyncio
import sys

from headrace import AsyncHeadraceGrpc


async def main(address, key, model):
    async with AsyncHeadraceGrpc(address, api_key=key) as headrace:
        parts = []
        async with headrace.chat_stream("Say hello.", model=model) as stream:
            async for chunk in stream:
                parts.append(chunk.text)
        print("".join(parts))


asyncio.run(main(*sys.argv[1:]))
