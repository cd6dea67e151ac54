"""Forms with files, as they are passed on to retrieval."""

from __future__ import annotations

import pytest

from headrace_gateway.http_api.uploads import read_form
from headrace_kit.errors import BadInput

KIND = "multipart/form-data; boundary=b"


def body(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    return (
        b"".join(
            b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
            for head, content in parts
        )
        + end
    )


async def test_files_and_fields_become_the_parts_of_an_upload():
    content = bytes(range(256)) * 2000
    form = read_form(
        KIND,
        body(
            ('name="file"; filename="a.pdf"', content),
            ('name="acl"', b'{"users": ["ana"]}'),
            ('name="metadata"', b'{"year": 2026}'),
            ('name="id"', b"leave"),
        ),
    )
    target, file, *data = [part async for part in form.parts("handbook", True)]
    assert (target.target.collection, target.target.wait) == ("handbook", True)
    assert (file.file.id, file.file.name, list(file.file.acl.users)) == ("leave", "a.pdf", ["ana"])
    assert dict(file.file.metadata) == {"year": 2026}
    assert len(data) == 2 and b"".join(part.data for part in data) == content


@pytest.mark.parametrize(
    ("kind", "sent", "param"),
    [
        ("multipart/form-data", body(), "content-type"),
        ("multipart/mixed; boundary=b", body(), "content-type"),
        (KIND, b"junk", "body"),
        (KIND, body(('name="file"; filename="a"', b"x"), end=b""), "body"),
        (KIND, body(('name="id"', b"x")), "file"),
        (KIND, body(('name="file"; filename="a"', b"x"), ('name="acl"', b'{"user": 1}')), "acl"),
        (KIND, body(('name="file"; filename="a"', b"x"), ('name="metadata"', b"[1]")), "metadata"),
        (KIND, body(('name="file"; filename="a"', b"x"), ('name="colour"', b"1")), "colour"),
        (
            KIND,
            body(('name="file"; filename="a"', b"x"), ('name="file"; filename="b"', b"y"), ('name="id"', b"x")),
            "id",
        ),
    ],
)
def test_a_form_that_is_not_as_it_should_be_names_the_field(kind, sent, param):
    with pytest.raises(BadInput) as caught:
        read_form(kind, sent)
    assert caught.value.param == param
