"""The console's files: what is sent with them, and that no path leads out of their folder."""

from __future__ import annotations

import gzip

import pytest

from headrace_kit.errors import NotFound, NotReady
from headrace_protos.tracing.v1 import console_pb2
from headrace_tracing.adapters.web import FolderWeb
from headrace_tracing.grpc_api.console import ConsoleServicer

SCRIPT = b"console.log('water')\n" * 50


@pytest.fixture
def ask(tmp_path):
    """Asks for a file, as the gateway does."""
    folder = tmp_path / "web"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>headrace</title>")
    (folder / "assets" / "index-abc.js").write_bytes(SCRIPT)
    (folder / "built-from").write_text("digest")
    (tmp_path / "secret.html").write_text("secret")
    servicer = ConsoleServicer(None, FolderWeb(folder))

    async def get(path: str = "", **more: object) -> console_pb2.GetFileResponse:
        return await servicer.answer(console_pb2.GetFileRequest(path=path, **more))

    return get


async def test_a_page_is_the_application_and_a_policy_that_runs_nothing_else(ask):
    page = await ask("traces/abc")
    assert page.body == (await ask()).body == (await ask("index.html")).body
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy and "require-trusted-types-for 'script'" in policy
    assert page.headers["cache-control"] == "no-cache" and page.headers["x-content-type-options"] == "nosniff"


async def test_a_script_never_changes_and_is_packed_for_those_who_take_it(ask):
    plain, packed = await ask("assets/index-abc.js"), await ask("assets/index-abc.js", gzip=True)
    assert plain.body == gzip.decompress(packed.body) == SCRIPT
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert "immutable" in plain.headers["cache-control"]
    again = await ask("assets/index-abc.js", etag=plain.headers["etag"])
    assert again.not_modified and not again.body


@pytest.mark.parametrize("path", ["../secret.html", "/etc/passwd", "built-from", "assets/../../secret.html"])
async def test_nothing_else_is_given_out(ask, path):
    try:
        assert b"headrace" in (await ask(path)).body
    except NotFound as error:
        assert error.code == "unknown_path"


async def test_a_missing_script_is_not_a_page(ask):
    with pytest.raises(NotFound):
        await ask("assets/old-123.js")


async def test_a_console_that_was_not_built_says_how_to_build_it(tmp_path):
    servicer = ConsoleServicer(None, FolderWeb(tmp_path / "nowhere"))
    with pytest.raises(NotReady, match="make console"):
        await servicer.answer(console_pb2.GetFileRequest())
