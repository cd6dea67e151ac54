"""Fast checks of a text, by itself or while it streams: personal data, secrets, words, patterns, Unicode tricks.

Pure functions of the text: nothing here reads a file, a clock, the environment or the network.

    checker = compile_checks([Pii(action=Action.MASK), BanList(words=("project falcon",))])
    verdict = checker.check("write to ana@example.org")     # action mask, text "write to [EMAIL_1]"
"""

from headrace_detectors._lane import HOLD_BYTES
from headrace_detectors._pii import PII_KINDS
from headrace_detectors._secrets import SECRET_KINDS
from headrace_detectors._tricks import UNICODE_KINDS
from headrace_detectors.checker import Checker, compile_checks
from headrace_detectors.errors import BadCheck
from headrace_detectors.findings import Action, Finding, Verdict
from headrace_detectors.policy import DIRECTIONS, Policy, compile_policy
from headrace_detectors.session import Session
from headrace_detectors.specs import (
    CHECKS,
    BanList,
    CheckSpec,
    Length,
    Patterns,
    Pii,
    Secrets,
    Tricks,
    nearest,
    read_spec,
)
from headrace_detectors.stream import StreamChecker

__all__ = [
    "CHECKS",
    "DIRECTIONS",
    "HOLD_BYTES",
    "PII_KINDS",
    "SECRET_KINDS",
    "UNICODE_KINDS",
    "Action",
    "BadCheck",
    "BanList",
    "CheckSpec",
    "Checker",
    "Finding",
    "Length",
    "Patterns",
    "Pii",
    "Policy",
    "Secrets",
    "Session",
    "StreamChecker",
    "Tricks",
    "Verdict",
    "compile_checks",
    "compile_policy",
    "nearest",
    "read_spec",
]
