"""A small real HTTP server that plays vLLM, SGLang, NIM or TGI from transcripts.

It chooses the transcript by what a request asks for, and only by the names that the engine itself reads: a request that
names an option as another engine does gets the plain answer, and the test that wanted more fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

FOLDER = Path(__file__).parents[2] / "recordings" / "servers"
ENDLESS_TOKENS = 500
"""An answer of at least so many tokens goes on until the client leaves."""

_PATHS = {
    "vllm": {"/health": "", "/version": "version.json", "/metrics": "metrics.txt"},
    "sglang": {"/health": "", "/server_info": "server_info.json", "/metrics": "metrics.txt"},
    "nim": {"/v1/health/ready": "", "/v1/version": "version.json", "/v1/metrics": "metrics.txt"},
    "tgi": {"/health": "", "/info": "info.json", "/metrics": "metrics.txt"},
}
_TYPES = {".sse": "text/event-stream", ".json": "application/json", ".txt": "text/plain"}


class Replay:
    """One server; use it as an async context manager.

    Attributes:
        seen: bodies of the requests for text, in their order.
        running: requests for text that are being answered.
        headers: of those requests.
        instead: transcripts that are played next, whatever is asked for; `name.sse!3` breaks off after three events.
        extra_headers: of refusals.
        health: status of the health path.
        missing: paths that answer 404.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.seen: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.running = 0
        self.instead: list[str] = []
        self.health = 200
        self.extra_headers: dict[str, str] = {}
        self.missing: set[str] = set()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Replay:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_post("/v1/completions", self._generate)
        app.router.add_get("/v1/models", self._file)
        for path in _PATHS[self.engine]:
            app.router.add_get(path, self._file)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def die(self) -> None:
        """As a process that is killed: open connections break, and new ones are refused."""
        assert self._runner is not None
        for site in list(self._runner.sites):
            await site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def text(self, name: str) -> str:
        """A transcript; NIM is vLLM inside."""
        own = FOLDER / self.engine / name
        return (own if own.exists() else FOLDER / "vllm" / name).read_text("utf-8")

    async def _file(self, request: web.Request) -> web.Response:
        name = _PATHS[self.engine].get(request.path, "models.json")
        if request.path in self.missing:
            return web.Response(status=404)
        if not name:
            return web.Response(status=self.health)
        return web.Response(text=self.text(name), content_type=_TYPES[Path(name).suffix])

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        self.running += 1
        try:
            name = self.instead.pop(0) if self.instead else chosen(self.engine, body)
            if name == "endless":
                return await self._endless(request)
            return await self._play(request, name, body)
        finally:
            self.running -= 1

    async def _play(self, request: web.Request, name: str, body: dict[str, Any]) -> web.StreamResponse:
        if name.endswith(".json"):
            status = int(name.split(".")[-2])
            return web.Response(
                status=status, text=self.text(name), content_type="application/json", headers=self.extra_headers
            )
        name, _, cut = name.partition("!")
        response = await _begun(request)
        events = self.text(name).replace("@CONST@", _constant(body)).encode().split(b"\n\n")[:-1]
        for number, event in enumerate(events):
            if cut and number == int(cut):
                break  # the stream ends here, without a word
            # in two pieces, the first of which ends in the middle of an event
            await response.write(event[: number + 3])
            await asyncio.sleep(0)
            await response.write(event[number + 3 :] + b"\n\n")
        await response.write_eof()
        return response

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = await _begun(request)
        first, second, *_ = self.text("chat.sse").encode().split(b"\n\n")
        await response.write(first + b"\n\n")
        while True:
            await response.write(second + b"\n\n")
            await asyncio.sleep(0.02)


async def _begun(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    return response


def chosen(engine: str, body: dict[str, Any]) -> str:
    """The transcript for a request."""
    if len(str(body.get("messages") or body.get("prompt"))) > 20_000:
        return "context.422.json" if engine == "tgi" else "context.400.json"
    form = body.get("response_format") or {}
    if _regex(engine, body, form):
        return "regex.sse"
    schema = _schema(engine, form)
    if schema is not None:
        refused = "schema.422.json" if engine == "tgi" else "schema.400.json"
        return refused if schema.get("type") == "strange" else "json_schema.sse"
    if form.get("type") == "json_object":
        return "json_object.sse"
    if body.get("max_tokens", 0) >= ENDLESS_TOKENS:
        return "endless"
    if body.get("tools") and body.get("tool_choice") != "none":
        return "tool.sse"
    if "prompt" in body:
        return "completion.sse" if body.get("logprobs") is None else "completion_logprobs.sse"
    for name, asked in (
        ("n2.sse", body.get("n") == 2),
        ("logprobs.sse", body.get("logprobs")),
        ("stop.sse", " jumps" in "".join(body.get("stop", ())) or "jumps" in body.get("stop", ())),
        ("length.sse", body.get("max_tokens", 99) <= 3),
    ):
        if asked:
            return name
    return "chat.sse"


def _regex(engine: str, body: dict[str, Any], form: dict[str, Any]) -> bool:
    if engine == "sglang":
        return "regex" in body
    if engine == "tgi":
        return form.get("type") == "regex" and isinstance(form.get("value"), str)
    return "regex" in body.get("structured_outputs", {})


def _schema(engine: str, form: dict[str, Any]) -> dict[str, Any] | None:
    if engine == "tgi":
        return form["value"] if form.get("type") == "json" else None
    return form["json_schema"]["schema"] if form.get("type") == "json_schema" else None


def _constant(body: dict[str, Any]) -> str:
    """The first constant in a request's schema."""
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("const"), str):
                found.append(value["const"])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(json.loads(json.dumps(body.get("response_format"))))
    return found[0] if found else ""
