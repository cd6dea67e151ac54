"""ConsoleService over gRPC: the files of the web console."""

from __future__ import annotations

from headrace_kit.errors import NotFound, NotReady
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.tracing.v1 import console_pb2, console_pb2_grpc
from headrace_tracing.ports import Web

FULL_NAME = "headrace.tracing.v1.ConsoleService"
ASSETS = "assets/"
"""Folder of the files whose names hold a hash of what is in them: they never change."""
_PAGE = {
    "cache-control": "no-cache",
    # Only what this server has is loaded, and nothing that is written in a page is run or styled.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types svelte-trusted-html"
    ),
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class ConsoleServicer(console_pb2_grpc.ConsoleServiceServicer):
    """See the proto for what each method promises."""

    def __init__(self, rpc_runtime: RpcRuntime, web: Web) -> None:
        self.rpc_runtime = rpc_runtime
        self._web = web

    @rpc(callers={"gateway"})
    async def GetFile(self, request: console_pb2.GetFileRequest, call: Call) -> console_pb2.GetFileResponse:
        """A file, or the start page."""
        return await self.answer(request)

    async def answer(self, request: console_pb2.GetFileRequest) -> console_pb2.GetFileResponse:
        """See the proto."""
        files = await self._web.files()
        if "index.html" not in files:
            raise NotReady("the console was not built here: run `make console`, then `make restart UNIT=tracing`")
        file = files.get(request.path)
        if file is None and request.path.startswith(ASSETS):
            raise NotFound(f"the console has no file {request.path[:200]!r}", code="unknown_path")
        file = file or files["index.html"]
        headers = {
            "content-type": file.content_type,
            "etag": file.etag,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "vary": "accept-encoding",
        }
        if file.path.startswith(ASSETS):
            headers["cache-control"] = "public, max-age=31536000, immutable"
        else:
            headers |= _PAGE
        if request.etag == file.etag:
            return console_pb2.GetFileResponse(not_modified=True, headers=headers)
        packed = request.gzip and file.gzipped
        if packed:
            headers["content-encoding"] = "gzip"
        return console_pb2.GetFileResponse(body=file.gzipped if packed else file.body, headers=headers)
