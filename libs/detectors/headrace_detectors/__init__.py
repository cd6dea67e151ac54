"""Fast checks of a text, by itself or while it streams: personal data, secrets, words, patterns, Unicode tricks.

Pure functions of the text: nothing here reads a file, a clock, the environment or the network.

    checker = compile_checks([Pii(action=Action.MASK), BanList(words=("project falcon",))])
    verdict = checker.check("write to ana@example.org")     # action mask, text "write to [EMAIL_1]"
"""

from headrace_detectors._code import CODE_KINDS
from headrace_detectors._instructions import INSTRUCTION_KINDS
from headrace_detectors._lane import HOLD_BYTES
from headrace_detectors._language import LANGUAGES
from headrace_detectors._payloads import ENCODED_KINDS
from headrace_detectors._pii import PII_KINDS
from headrace_detectors._secrets import SECRET_KINDS
from headrace_detectors._tricks import UNICODE_KINDS
from headrace_detectors._urls import URL_KINDS
from headrace_detectors.checker import Checker, compile_checks
from headrace_detectors.errors import BadCheck
from headrace_detectors.findings import Action, Extra, Finding, Verdict
from headrace_detectors.policy import DIRECTIONS, Policy, compile_policy
from headrace_detectors.session import Session, Unmasker
from headrace_detectors.specs import (
    CHECKS,
    BanList,
    Canary,
    CheckSpec,
    Code,
    Encoded,
    Instructions,
    Language,
    Length,
    Patterns,
    Pii,
    Secrets,
    Tricks,
    Urls,
    nearest,
    read_spec,
)
from headrace_detectors.stream import StreamChecker

__all__ = [
    "CHECKS",
    "CODE_KINDS",
    "DIRECTIONS",
    "ENCODED_KINDS",
    "HOLD_BYTES",
    "INSTRUCTION_KINDS",
    "LANGUAGES",
    "PII_KINDS",
    "SECRET_KINDS",
    "UNICODE_KINDS",
    "URL_KINDS",
    "Action",
    "BadCheck",
    "BanList",
    "Canary",
    "CheckSpec",
    "Checker",
    "Code",
    "Encoded",
    "Extra",
    "Finding",
    "Instructions",
    "Language",
    "Length",
    "Patterns",
    "Pii",
    "Policy",
    "Secrets",
    "Session",
    "StreamChecker",
    "Tricks",
    "Unmasker",
    "Urls",
    "Verdict",
    "compile_checks",
    "compile_policy",
    "nearest",
    "read_spec",
]
