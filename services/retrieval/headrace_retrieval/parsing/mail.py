"""E-mail as a file (.eml)."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from headrace_retrieval.parsing.parsed import Parsed, clean
from headrace_retrieval.parsing.plain import decode
from headrace_retrieval.parsing.web import to_markdown

_HEADERS = ("From", "To", "Cc", "Date", "Subject")


def read(content: bytes) -> Parsed:
    """Who wrote what to whom: the plain text where there is one. Attachments are named, and not read."""
    message = message_from_bytes(content, _class=EmailMessage, policy=default)
    lines = [f"{name}: {' '.join(str(message[name]).split())}" for name in _HEADERS if message[name]]
    body = message.get_body(("plain", "html"))
    text = ""
    if isinstance(body, EmailMessage):
        payload = body.get_payload(decode=True)
        raw = payload if isinstance(payload, bytes) else b""
        text = _decoded(raw, body.get_content_charset())
        if body.get_content_type() == "text/html":
            text = to_markdown(text)
    attached = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
    if attached:
        lines.append("Attachments: " + ", ".join(" ".join(name.split()) for name in attached))
    return Parsed(clean("\n".join(lines) + "\n\n" + text), False, " ".join(str(message["Subject"] or "").split()))


def _decoded(raw: bytes, charset: str | None) -> str:
    try:
        return raw.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return decode(raw)
