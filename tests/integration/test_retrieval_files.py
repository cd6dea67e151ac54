"""Files into real PostgreSQL: pages, exact places, and what is refused."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace_kit.errors import BadInput, TooLarge
from headrace_protos.retrieval.v1 import messages_pb2 as pb


def _load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kit = _load(Path(__file__).with_name("retrieval_replica.py"))
samples = _load(Path(__file__).parents[2] / "services/retrieval/tests/samples.py")

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVICES = ()
CONFIG = kit.CONFIG.replace("ops_port: 0}", "ops_port: 0}, max_file_bytes: 20000")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(part) -> AsyncIterator[kit.Replica]:
    async with kit.serving(part, CONFIG) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def name(replica) -> str:
    name = f"c{uuid.uuid4().hex[:12]}"
    await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name=name)))
    return name


async def upload(replica, collection: str, *files: tuple[pb.FileHeader, bytes]) -> pb.IngestResponse:
    async def parts():
        yield pb.IngestFilesRequest(target=pb.IngestTarget(collection=collection, wait=True))
        for header, content in files:
            yield pb.IngestFilesRequest(file=header)
            for at in range(0, len(content), 1000):
                yield pb.IngestFilesRequest(data=content[at : at + 1000])

    return await replica.call("IngestFiles", parts())


async def test_a_table_in_a_pdf_is_found_on_its_page(replica, name):
    header = pb.FileHeader(name="../../etc/leave.pdf", acl=pb.Acl(users=["ana"]))
    header.metadata.update({"year": 2026})
    other = (pb.FileHeader(name="notes.txt", id="notes", acl=pb.Acl(public=True)), b"Bring boots.")
    answer = await upload(replica, name, (header, samples.leave_pdf()), other)
    assert answer.accepted == 2
    found = (await replica.search(name, "grade engineer days", user="ana", filter={"year": 2026})).results[0]
    assert (found.document_id, dict(found.metadata)) == ("leave.pdf", {"year": 2026}), "nothing of a path is kept"
    stored = await replica.call(
        "GetDocument", pb.GetDocumentRequest(collection=name, document_id="leave.pdf"), user="ana"
    )
    assert stored.text[found.start : found.end] == found.text
    assert len(stored.page_starts) == 2
    cell = stored.text.index("Thirty-one")
    page = found.page + sum(start <= cell for start in found.page_breaks)
    assert page == 2
    assert await replica.ids(name, "engineer") == ["notes"], "nobody else sees it"


@pytest.mark.parametrize(
    ("files", "error", "reason"),
    [
        ([], BadInput, "at least one file"),
        ([("a.pdf", b"\x00\x01junk")], BadInput, "named as a .pdf file and is none"),
        ([("a.pdf", samples.locked_pdf())], BadInput, "locked"),
        ([("a.docx", samples.archive({"word/document.xml": b"0" * 9_000_000}))], BadInput, "unpacks"),
        ([("a.txt", b"x" * 20_001)], TooLarge, "larger than 20000 bytes"),
        ([("a.txt", b"x"), ("b/a.txt", b"y")], BadInput, "same id"),
        ([("", b"x")], BadInput, "give the file a name"),
        ([("a.txt", b"x"), ("empty.txt", b" ")], BadInput, "empty"),
    ],
)
async def test_what_cannot_be_a_document_is_refused_and_nothing_is_kept(replica, name, files, error, reason):
    with pytest.raises(error, match=reason):
        await upload(replica, name, *((pb.FileHeader(name=name_), content) for name_, content in files))
    listed = await replica.call("ListDocuments", pb.ListDocumentsRequest(collection=name))
    assert not listed.documents
