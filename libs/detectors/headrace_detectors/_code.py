"""Code in an answer that does harm where somebody runs or shows it: SQL, shell, HTML."""

from __future__ import annotations

from headrace_detectors._pattern import Accepted, Candidate, Pattern

_SQL = (
    r"(?i)\b(?:drop\s{1,4}(?:table|database|schema|view|user|role)\s|truncate\s{1,4}table\s|delete\s{1,4}from\s{1,4}[\w.\"`]+\s{0,4}(?:;|$)"
    r"|alter\s{1,4}(?:user|role|login)\s|grant\s{1,4}all\b|xp_cmdshell|into\s{1,4}(?:out|dump)file\s|load_file\s?\()"
)
_SQL_INJECTION = (
    r"(?i)(?:'|\"|\b\d)\s{0,4}(?:or|and)\s{1,4}(?:'?\d{1,5}'?\s{0,3}=\s{0,3}'?\d{1,5}|true\b)|\bunion\s{1,4}(?:all\s{1,4})?select\b|;\s{0,4}--"
    r"|\b(?:sleep|pg_sleep|benchmark|waitfor\s{1,4}delay)\s?\(?\s?['\d]"
)
_SHELL = (
    r"(?:\brm\s{1,3}(?:-{1,2}[A-Za-z-]{1,20}\s{1,3}){1,4}[/~*.$]|\b(?:curl|wget)\b[^|\n]+\|\s{0,3}(?:sudo\s{1,3})?(?:ba|z|da)?sh\b"
    r"|\bmkfs(?:\.\w{2,5})?\s|\bdd\s{1,3}if=[^\n]+\sof=/dev/|:\(\)\s?\{\s?:\|:&\s?\};:|>\s?/dev/(?:sd[a-z]|nvme\d)"
    r"|\bchmod\s{1,3}(?:-R\s{1,3})?[0-7]?777\s{1,3}/|\bnc\s{1,3}(?:-[a-z]{1,5}\s{1,3}){1,3}[^\n]*(?:/bin/|-e)|/dev/tcp/[\w.]+/\d"
    r"|\b(?:bash|sh|python3?|perl|powershell(?:\.exe)?)\s{1,3}-(?:c|e|enc|EncodedCommand)\s{1,3}[\"']?[A-Za-z0-9+/=]{40,}"
    r"|(?i:\bpowershell(?:\.exe)?\b[^\n]*(?:downloadstring|invoke-expression|\biex\b))|\bbase64\s{1,3}(?:-d|--decode)[^\n]*\|\s{0,3}(?:ba)?sh\b)"
)
_HTML = (
    r"(?i)<script\b|<iframe\b|<object\b|<embed\b|<(?:base|meta)\b[^>]*(?:href|http-equiv\s?=\s?[\"']?refresh)"
    r"|<[a-z][a-z0-9]{0,20}\b[^>]*\son(?:error|load|click|mouseover|focus|toggle|animationstart|pointerover)\s?="
    r"|(?:href|src|action|xlink:href)\s?=\s?[\"']?\s{0,4}(?:javascript|vbscript)\s?:|\]\(\s{0,3}javascript:"
)


def _scored(score: float):  # type: ignore[no-untyped-def]
    def accept(candidate: Candidate) -> Accepted | None:
        return Accepted(score, len(candidate.value))

    return accept


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "sql": (
        Pattern("sql", _SQL, accept=_scored(0.6)),
        Pattern("sql", _SQL_INJECTION, accept=_scored(0.7)),
    ),
    "shell": (Pattern("shell", _SHELL, accept=_scored(0.7)),),
    "html": (Pattern("html", _HTML, accept=_scored(0.7)),),
}
"""What finds each language."""

CODE_KINDS = tuple(PATTERNS)
"""Every language that is looked for."""
