"""Documents that come by themselves: from a folder, a bucket, a website and a database."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import obstore
import psycopg
import pytest
import pytest_asyncio
from aiohttp import web
from obstore.store import S3Store

from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import Forbidden, NotFound
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import sources_pb2 as sources_pb

_spec = importlib.util.spec_from_file_location("retrieval_replica", Path(__file__).with_name("retrieval_replica.py"))
kit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kit)
eventually = kit.eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG
BM25 = pb.SEARCH_MODE_BM25


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(part) -> AsyncIterator[kit.Replica]:
    async with kit.serving(part) as running:
        yield running


class Synced:
    """A collection with one source."""

    def __init__(self, replica: kit.Replica, name: str) -> None:
        self.replica = replica
        self.name = name

    async def configure(self, source: dict, **collection) -> None:
        """Give the collection its source; it is made when it is not there."""
        section = {"tenant": "red", **collection, "sources": {"src": source}}
        text = kit.CONFIG.replace("collections:\n", f"collections:\n  {self.name}: {json.dumps(section)}\n")
        self.replica.runtime.configs.replace(Snapshot(parse(text), Path("headrace.yaml")))
        await eventually(self._there, lambda there: there)

    def secret(self, name: str, value: str) -> None:
        """Give the service a secret."""
        (self.replica.runtime.secrets.folder / name).write_text(value)

    async def _there(self) -> bool:
        answer = await self.replica.call("ListCollections", pb.ListCollectionsRequest())
        return self.name in {one.name for one in answer.collections}

    async def sync(self, **caller) -> sources_pb.Source:
        request = sources_pb.SyncSourceRequest(collection=self.name, source="src", wait=True)
        return await self.replica.call("SyncSource", request, **caller)

    async def counts(self) -> tuple[str, ...]:
        """added, changed, unchanged, removed, refused of a synchronisation that has to be done."""
        state = await self.sync()
        assert (state.state, state.error) == ("done", "")
        assert state.seen == state.added + state.changed + state.unchanged + state.refused
        return (state.added, state.changed, state.unchanged, state.removed, state.refused)

    async def refusals(self) -> dict[str, str]:
        request = sources_pb.ListRefusalsRequest(collection=self.name, source="src")
        answer = await self.replica.call("ListRefusals", request)
        return {one.key: one.reason for one in answer.refusals}

    async def found(self, query: str, count: int | None = None, **caller) -> list[str]:
        """Documents that a search finds, without the source's name; waits until there are `count`."""

        async def ids() -> list[str]:
            found = await self.replica.ids(self.name, query, mode=BM25, top_k=100, **caller)
            return sorted(id.removeprefix("src/") for id in set(found))

        return await eventually(ids, lambda found: count is None or len(found) == count)


@pytest_asyncio.fixture(loop_scope="module")
async def synced(shared) -> Synced:
    return Synced(shared, f"s{uuid.uuid4().hex[:12]}")


async def test_a_folder_is_followed_new_changed_and_vanished(synced, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("# Water\n\nWater of a.")
    (tmp_path / "sub/b.txt").write_text("Water of b.")
    (tmp_path / "c.bin").write_bytes(b"\x00\x01 water")
    (tmp_path / ".hidden.txt").write_text("Hidden water.")
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    (tmp_path / "skipped.log").write_text("Water in a log.")
    await synced.configure(
        {"kind": "folder", "path": str(tmp_path), "include": ["*.md", "*.txt", "*.bin"], "metadata": {"from": "disk"}}
    )
    assert await synced.counts() == (2, 0, 0, 0, 1)
    assert await synced.found("water", 2) == ["a.md", "sub/b.txt"]
    assert await synced.found("water", filter={"from": "disk"}) == ["a.md", "sub/b.txt"]
    assert list(await synced.refusals()) == ["c.bin"]
    embedded = len(synced.replica.models.embedded)
    assert await synced.counts() == (0, 0, 2, 0, 1)
    (tmp_path / "a.md").touch()
    assert await synced.counts() == (0, 0, 2, 0, 1), "the time changed, and the content did not"
    assert len(synced.replica.models.embedded) == embedded
    (tmp_path / "a.md").write_text("# Water\n\nWater of a, and fire.")
    (tmp_path / "sub/b.txt").unlink()
    (tmp_path / "d.txt").write_text("Water of d.")
    assert await synced.counts() == (1, 1, 0, 1, 1)
    assert await synced.found("water", 2) == ["a.md", "d.txt"]
    assert await synced.found("fire", 1) == ["a.md"]
    # What becomes unreadable keeps its text, and says so.
    (tmp_path / "d.txt").write_bytes(b"\x00\x00\x00 water")
    assert await synced.counts() == (0, 0, 1, 0, 2)
    assert await synced.found("water", 2) == ["a.md", "d.txt"]
    assert set(await synced.refusals()) == {"c.bin", "d.txt"}


async def test_a_folder_that_cannot_be_listed_removes_nothing(synced, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("Water.")
    await synced.configure({"kind": "folder", "path": str(tmp_path / "in")})
    assert await synced.counts() == (1, 0, 0, 0, 0)
    (tmp_path / "in").rename(tmp_path / "away")
    state = await synced.sync()
    assert (state.state, state.removed) == ("failed", 0) and "not there" in state.error
    assert await synced.found("water", 1) == ["a.txt"]
    (tmp_path / "away").rename(tmp_path / "in")
    assert await synced.counts() == (0, 0, 1, 0, 0)


async def test_rights_that_the_config_changes_hold_for_what_was_there_before(synced, tmp_path):
    (tmp_path / "a.txt").write_text("Water.")
    folder = {"kind": "folder", "path": str(tmp_path)}
    await synced.configure({**folder, "acl": {"groups": ["staff", "board"]}}, acl="required")
    await synced.counts()
    assert await synced.found("water", 1, groups=["staff"]) == ["a.txt"]
    assert await synced.found("water") == []
    await synced.configure({**folder, "acl": {"groups": ["board"]}}, acl="required")
    assert await synced.counts() == (0, 1, 0, 0, 0)
    assert await synced.found("water", groups=["staff"]) == []
    assert await synced.found("water", groups=["board"]) == ["a.txt"]


async def test_sources_are_their_owners_and_named_by_the_config(synced, tmp_path):
    (tmp_path / "a.txt").write_text("Water.")
    await synced.configure({"kind": "folder", "path": str(tmp_path)}, shared_with=["blue"])
    with pytest.raises(Forbidden):
        await synced.sync(tenant="blue")
    with pytest.raises(NotFound):
        await synced.sync(tenant="green")
    with pytest.raises(NotFound, match="it names: src"):
        request = sources_pb.SyncSourceRequest(collection=synced.name, source="other")
        await synced.replica.call("SyncSource", request)
    answer = await synced.replica.call("ListSources", sources_pb.ListSourcesRequest(collection=synced.name))
    assert [(one.name, one.kind, one.state) for one in answer.sources] == [("src", "folder", "idle")]


async def test_a_schedule_synchronises_by_itself(synced, tmp_path):
    (tmp_path / "a.txt").write_text("Water.")
    await synced.configure({"kind": "folder", "path": str(tmp_path), "every": "10s"})
    assert await synced.found("water", 1) == ["a.txt"]


async def test_a_synchronisation_that_died_is_taken_up_and_does_not_begin_again(part, synced, tmp_path):
    for number in range(24):
        (tmp_path / f"{number:03}.txt").write_text(f"Water {number:03}.")
    await synced.configure({"kind": "folder", "path": str(tmp_path)})
    await synced.counts()
    (tmp_path / "000.txt").unlink()
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        # As if a process had died in the middle of the next run: half is seen, its lease has ended.
        await connection.execute("SELECT set_config('headrace.system', 'on', true)")
        await connection.execute(
            "UPDATE retrieval.source_entries SET run = 2 WHERE key < '012.txt' AND key > '000.txt' AND collection_id = "
            "(SELECT id FROM retrieval.collections WHERE name = %s)",
            [synced.name],
        )
        await connection.execute(
            "UPDATE retrieval.sources SET state = 'running', run = 2, lease_until = now() - interval '1 second', "
            "lease_owner = gen_random_uuid() WHERE collection_id = "
            "(SELECT id FROM retrieval.collections WHERE name = %s)",
            [synced.name],
        )
    request = sources_pb.ListSourcesRequest(collection=synced.name)
    answer = await eventually(
        lambda: synced.replica.call("ListSources", request), lambda found: found.sources[0].state == "done"
    )
    (state,) = answer.sources
    assert (state.run, state.unchanged, state.removed) == (2, 23, 1)
    assert await synced.found("000") == []


@asynccontextmanager
async def s3_server() -> AsyncIterator[str]:
    port = kit.free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(kit.WITHIN_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_a_bucket_is_followed(synced):
    synced.secret("s3-access", "key")
    synced.secret("s3-secret", "secret")
    async with s3_server() as endpoint:
        async with aiohttp.ClientSession() as client, client.put(f"{endpoint}/papers") as made:
            assert made.status == 200
        store = S3Store(
            "papers", endpoint=endpoint, region="us-east-1", access_key_id="key", secret_access_key="secret",
            client_options={"allow_http": True}, virtual_hosted_style_request=False,
        )  # fmt: skip
        for number in range(3):
            await obstore.put_async(store, f"policies/{number}.txt", f"Water {number}.".encode())
        await obstore.put_async(store, "other/9.txt", b"Water elsewhere.")
        section = {
            "kind": "s3", "bucket": "papers", "prefix": "policies/", "endpoint": endpoint,
            "access_key": {"secret": "s3-access"}, "secret_key": {"secret": "s3-secret"},
        }  # fmt: skip
        await synced.configure(section)
        assert await synced.counts() == (3, 0, 0, 0, 0)
        assert await synced.found("water", 3) == ["0.txt", "1.txt", "2.txt"]
        await obstore.put_async(store, "policies/1.txt", b"Fire.")
        await obstore.delete_async(store, "policies/2.txt")
        assert await synced.counts() == (0, 1, 1, 1, 0)
        assert await synced.found("fire", 1) == ["1.txt"]
        await synced.configure({**section, "bucket": "nowhere"})
        state = await synced.sync()
        assert state.state == "failed" and "'nowhere' cannot be listed" in state.error and state.removed == 0
    await synced.configure({**section, "secret_key": {"secret": "not-there"}})
    state = await synced.sync()
    assert state.state == "failed" and "the secret 'not-there' is missing" in state.error


@asynccontextmanager
async def website(pages: dict[str, tuple[str, str]]) -> AsyncIterator[str]:
    """A site that answers with what is in `pages` at the time: path to media type and text."""

    async def answer(request: web.Request) -> web.Response:
        if request.path not in pages:
            raise web.HTTPNotFound
        kind, text = pages[request.path]
        return web.Response(text=text, content_type=kind)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = kit.free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def sitemap(*addresses: str, kind: str = "url") -> tuple[str, str]:
    root = "urlset" if kind == "url" else "sitemapindex"
    entries = "".join(f"<{kind}><loc>{address}</loc></{kind}>" for address in addresses)
    return "application/xml", f'<{root} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{root}>'


async def test_a_website_is_followed_by_its_sitemap(synced):
    pages: dict[str, tuple[str, str]] = {
        "/a": ("text/html", "<html><title>A</title><body><p>Water of a.</p><script>evil()</script></body></html>"),
        "/b": ("text/html", "<html><body><h1>B</h1><p>Water of b.</p></body></html>"),
    }
    async with website(pages) as site:
        pages["/index.xml"] = sitemap(f"{site}/part.xml", kind="sitemap")
        pages["/part.xml"] = sitemap(f"{site}/a", f"{site}/b", f"{site}/gone", "http://elsewhere.example/x")
        section = {"kind": "web", "sitemap": f"{site}/index.xml", "allow_networks": ["127.0.0.0/8"]}
        await synced.configure(section)
        assert await synced.counts() == (2, 0, 0, 0, 1)
        assert await synced.found("water", 2) == [f"{site}/a", f"{site}/b"]
        assert await synced.found("evil") == []
        assert "does not answer with a page" in (await synced.refusals())[f"{site}/gone"]
        pages["/part.xml"] = sitemap(f"{site}/a")
        pages["/a"] = ("text/html", "<html><body><p>Fire of a.</p></body></html>")
        assert await synced.counts() == (0, 1, 0, 1, 0)
        assert await synced.found("fire", 1) == [f"{site}/a"]
        assert await synced.found("water", 0) == []
        for bad, told in (
            (("application/xml", "<urlset><url>"), "not XML"),
            (("application/xml", '<!DOCTYPE x [<!ENTITY a "b">]><urlset/>'), "DOCTYPE"),
        ):
            pages["/index.xml"] = bad
            state = await synced.sync()
            assert state.state == "failed" and told in state.error and state.removed == 0
        pages["/index.xml"] = sitemap(f"{site}/a", f"{site}/b")
        await synced.configure({**section, "most_pages": 1})
        assert "most_pages = 1" in (await synced.sync()).error
        # Without the networks that the config allows, nothing internal is reached.
        await synced.configure({"kind": "web", "sitemap": f"{site}/index.xml"})
        state = await synced.sync()
        assert state.state == "failed" and "public host" in state.error
        await synced.configure({"kind": "web", "pages": [f"{site}/b", "http://169.254.169.254/latest/meta-data"]})
        assert (await synced.sync()).refused == 2
        assert all("public host" in reason for reason in (await synced.refusals()).values())


async def test_rows_of_a_query_are_documents(part, synced):
    admin = (part.platform.layout.secrets / "postgres-admin-dsn").read_text().strip()
    synced.secret("faq", admin)
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
        await connection.execute("CREATE TABLE public.faq (id int, question text, answer text, lang text, at date)")
        await connection.execute(
            "INSERT INTO public.faq VALUES (1, 'Where from?', 'Water comes from the basin.', 'en', '2026-01-02'), "
            "(2, 'Where to?', 'Water goes to the sea.', 'en', NULL), (3, 'Void', NULL, 'en', NULL)"
        )
        query = "SELECT id, question AS title, answer AS text, lang, at FROM public.faq"
        section = {"kind": "postgres", "dsn": {"secret": "faq"}, "query": query}
        await synced.configure(section)
        assert await synced.counts() == (2, 0, 0, 0, 1)
        assert await synced.found("water", 2) == ["1", "2"]
        assert await synced.found("water", filter={"at": "2026-01-02"}) == ["1"]
        assert await synced.refusals() == {"3": "its text is null"}
        await connection.execute("UPDATE public.faq SET answer = 'Fire.' WHERE id = 1")
        await connection.execute("DELETE FROM public.faq WHERE id = 2")
        assert await synced.counts() == (0, 1, 0, 1, 1)
        assert await synced.found("fire", 1) == ["1"]
        for changed, told in (
            ("SELECT 1 AS id", "no column 'text'"),
            ("SELECT 1 AS id, 'a' AS text FROM nowhere", "refused the query"),
            ("SELECT 1 AS id, 'a' AS text UNION ALL SELECT 1, 'b'", "two entries"),
            (
                "WITH w AS (DELETE FROM public.faq RETURNING id) SELECT id, 'a' AS text FROM w",
                "refused the query",
            ),
        ):
            await synced.configure({**section, "query": changed})
            state = await synced.sync()
            assert state.state == "failed" and told in state.error and state.removed == 0, state
        rows = await connection.execute("SELECT count(*) FROM public.faq")
        assert (await rows.fetchone())[0] == 2, "a query only reads"
        await connection.execute("DROP TABLE public.faq")
