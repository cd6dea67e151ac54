"""Checks compiled into one checker, for whole texts and for streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headrace_detectors import _code, _instructions, _payloads, _pii, _secrets, _tricks
from headrace_detectors._banlist import ban_list
from headrace_detectors._canary import canary
from headrace_detectors._lane import Lane
from headrace_detectors._pattern import Pattern, Rule
from headrace_detectors._prefixes import prefixes
from headrace_detectors._re import BadPattern, Regex
from headrace_detectors._urls import URL_KINDS, url_patterns
from headrace_detectors._views import View
from headrace_detectors.errors import BadCheck
from headrace_detectors.findings import Action, Extra, Verdict
from headrace_detectors.session import Session
from headrace_detectors.specs import (
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
)
from headrace_detectors.stream import LanguageLimit, LengthLimit, Limit, StreamChecker

_PATTERN_CHARS = 4096
_FOUND_IN_SMALL_TEXTS = ("", "\n", " ", "a", "0")


class Checker:
    """The checks of one direction of a policy, compiled once. Immutable; safe to use from several threads."""

    def __init__(self, rules: Sequence[Rule], limits: Sequence[Limit] = ()) -> None:
        by_view: dict[View, list[tuple[int, Rule]]] = {}
        for order, rule in enumerate(rules):
            by_view.setdefault(rule.pattern.view, []).append((order, rule))
        self._lanes = tuple(Lane(view, of_view) for view, of_view in by_view.items())
        self._limits = tuple(limits)

    def check(self, text: str, session: Session | None = None, extra: Sequence[Extra] = ()) -> Verdict:
        """Judge a whole text.

        Args:
            text: any text; lone surrogates are treated as `?`.
            session: the conversation whose placeholders to go on with; a new one by default.
            extra: what other checks found in it.
        """
        stream = self.stream(session)
        out = stream.whole(text, extra) if extra else stream.finish(text)
        return Verdict(stream.action, out, stream.findings)

    def stream(self, session: Session | None = None) -> StreamChecker:
        """Begin to judge a text that arrives in pieces. The result is the one that `check` gives for all of it."""
        return StreamChecker(self._lanes, self._limits, session or Session())

    def __bool__(self) -> bool:
        """False when it checks nothing."""
        return bool(self._lanes or self._limits)


def compile_checks(specs: Iterable[CheckSpec]) -> Checker:
    """Compile checks into one checker.

    Args:
        specs: in order of preference: where two checks find the same with equal confidence, the earlier names it.

    Raises:
        BadCheck: an unknown kind, a pattern that RE2 refuses or that would match nothing at all, an unusable word;
            its path begins with the index of the check, for example `[2].patterns.ticket`.
    """
    rules: list[Rule] = []
    limits: list[Limit] = []
    for index, spec in enumerate(specs):
        try:
            if isinstance(spec, Length | Language):
                limits.append(_limit(spec))
            else:
                rules.extend(_rules(spec))
        except BadCheck as exc:
            raise exc.under(f"[{index}]") from exc
    return Checker(rules, limits)


def _limit(spec: Length | Language) -> Limit:
    if spec.action in (Action.MASK, Action.ALLOW):
        raise BadCheck(f"a {spec.check} cannot be masked or allowed; use another action", path="action")
    if isinstance(spec, Language):
        return LanguageLimit(frozenset(spec.allow), spec.action, spec.threshold)
    if spec.max_chars < 1:
        raise BadCheck("must be 1 or more", path="max_chars")
    return LengthLimit(spec.max_chars, spec.action)


def _rules(spec: CheckSpec) -> list[Rule]:
    if spec.action is Action.ALLOW:
        raise BadCheck("a check flags, masks, rewrites, escalates or blocks", path="action")
    threshold = 0.5
    patterns: Sequence[Pattern]
    match spec:
        case Pii():
            patterns, threshold = _chosen(_pii.PATTERNS, spec.kinds), spec.threshold
        case Secrets():
            patterns, threshold = _chosen(_secrets.PATTERNS, spec.kinds), spec.threshold
        case Encoded():
            patterns, threshold = _chosen(_payloads.PATTERNS, spec.kinds), spec.threshold
        case Instructions():
            patterns, threshold = _chosen(_instructions.PATTERNS, spec.kinds), spec.threshold
        case Code():
            patterns, threshold = _chosen(_code.PATTERNS, spec.kinds), spec.threshold
        case Urls():
            _require_known(URL_KINDS, spec.kinds)
            patterns, threshold = url_patterns(spec.kinds, spec.allow_hosts), spec.threshold
        case Canary():
            patterns = canary(spec.tokens)
        case Tricks():
            patterns = _chosen(_tricks.PATTERNS, spec.kinds)
        case BanList():
            patterns = ban_list(spec.words, spec.name)
        case Patterns():
            if not spec.patterns:
                raise BadCheck("needs at least one pattern", path="patterns")
            patterns = [_user_pattern(name, source) for name, source in spec.patterns.items()]
        case Length() | Language():
            raise AssertionError(f"a {spec.check} is a limit, not a rule")
    return [Rule(spec.check, pattern, spec.action, threshold) for pattern in patterns]


def _require_known(known: Sequence[str] | dict[str, tuple[Pattern, ...]], kinds: Sequence[str]) -> None:
    if not kinds:
        raise BadCheck("needs at least one kind", path="kinds")
    for index, kind in enumerate(kinds):
        if kind not in known:
            raise BadCheck(f"no such kind: {kind!r}{nearest(kind, known)}", path=f"kinds[{index}]")


def _chosen(known: dict[str, tuple[Pattern, ...]], kinds: Sequence[str]) -> list[Pattern]:
    _require_known(known, kinds)
    return [pattern for kind, patterns in known.items() if kind in kinds for pattern in patterns]


def _user_pattern(name: str, source: str) -> Pattern:
    path = f"patterns.{name}"
    if not source or len(source) > _PATTERN_CHARS:
        raise BadCheck(f"a pattern has 1 to {_PATTERN_CHARS} characters", path=path)
    try:
        regex = Regex(source)
        Regex(f"(?:{prefixes(source)})\\z")
    except (BadPattern, ValueError) as exc:
        raise BadCheck(f"is no pattern in RE2's syntax: {exc}", path=path) from exc
    for text in _FOUND_IN_SMALL_TEXTS:
        found = regex.search(text.encode())
        if found is not None and found[0][0] == found[0][1]:
            raise BadCheck("matches the empty text, so it would match everywhere", path=path)
    return Pattern(name, source)
