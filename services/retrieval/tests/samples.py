"""Small files of each format, made here."""

from __future__ import annotations

import io
import zipfile


def pdf(*pages: list[tuple[int, int, str]], ruled: tuple[int, ...] = (), extra: bytes = b"") -> bytes:
    """A PDF file with lines of text at (x, y); pages whose number is in `ruled` have a grid of 2 x 2 cells."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, lines in enumerate(pages, 1):
        content = "".join(f"BT /F1 11 Tf {x} {y} Td ({text}) Tj ET\n" for x, y, text in lines)
        if number in ruled:
            content += "".join(f"100 {y} m 400 {y} l S\n" for y in (500, 530, 560))
            content += "".join(f"{x} 500 m {x} 560 l S\n" for x in (100, 250, 400))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects) + 2} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}endstream".encode())
    made, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = len(made)
    made += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    made += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    trailer = f"trailer << /Size {len(objects) + 1} /Root 1 0 R ".encode()
    return made + trailer + extra + f">>\nstartxref\n{table}\n%%EOF\n".encode()


def leave_pdf() -> bytes:
    """Two pages; on the second a table."""
    return pdf(
        [(72, 770, "Holiday policy of the waterworks."), (72, 750, "This page says how to ask.")],
        [
            (72, 770, "Days of leave by grade."),
            *((110, 540, "Grade"), (260, 540, "Days"), (110, 510, "Engineer"), (260, 510, "Thirty-one")),
            (72, 450, "Unused days lapse in March."),
        ],
        ruled=(2,),
    )


def locked_pdf() -> bytes:
    """A PDF file that asks for a password."""
    noise = "00" * 32
    return pdf(
        [(72, 770, "Secret")],
        extra=(
            f"/ID [<{noise}> <{noise}>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{noise}> /U <{noise}> >> "
        ).encode(),
    )


def docx(body: str) -> bytes:
    """A Word file around the XML of its body."""
    office = "http://schemas.openxmlformats.org"
    word = f"{office}/wordprocessingml/2006/main"
    return archive(
        {
            "[Content_Types].xml": f'<Types xmlns="{office}/package/2006/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
            'PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
            'wordprocessingml.document.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{office}/package/2006/relationships"><Relationship Id="r1" '
            f'Type="{office}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>'
            "</Relationships>",
            "word/document.xml": f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>',
        }
    )


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of a Word file."""
    kind = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{kind}<w:r><w:t>{text}</w:t></w:r></w:p>"


def archive(files: dict[str, str | bytes]) -> bytes:
    """A zip archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return made.getvalue()
