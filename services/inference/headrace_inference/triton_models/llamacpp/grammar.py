"""Constrained output: a request's response format and tool calls as one grammar of llguidance.

llama.cpp is built with llguidance and takes its Lark dialect, but answers without any constraint where a grammar is
wrong: so each is compiled here first, and what comes out is matched against it.
"""

import json
import re

from llguidance import LLMatcher, LLTokenizer

from ..shared.failures import RequestFailed

MAX_CHARS = 200_000
"""Longest schema or regular expression."""

MAX_EXPANDED = 20_000
"""Largest regular expression with its repetitions written out, in characters and classes.

Preparing a larger one keeps all requests of the engine waiting.
"""

_HEADER = "%llguidance {}\n"
_SPACE = json.dumps({"whitespace_pattern": r"[ \n\t]{0,40}"})[1:-1]
_ANY_SPACE = json.dumps({"whitespace_pattern": r"[ \n\t]*"})[1:-1]
"""Quotes stand in both, so that neither is found within a schema's own texts."""

_JSON_OPTIONS = {
    # Without a bound a small model may write line breaks for ever.
    **json.loads("{%s}" % _SPACE),
    # Of alternatives whose exclusion cannot be decided ahead, any is taken.
    "coerce_one_of": True,
}
_PLACE = re.compile(r"^at \d+\(\d+\): |^failed to compile JSON schema: ")
_CARET = re.compile(r"\n\s+\d+ \| .*", re.DOTALL)
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?:(?P<least>\d+),(?=\d))?(?P<most>\d+),?\}|.", re.DOTALL)
_BYTES = None


def of_format(response_format):
    """The Lark rule body that an answer in this format follows, or None for free text.

    Raises:
        RequestFailed: `invalid_json_schema` or `invalid_regex` when it cannot be compiled, `unsupported` when the
            format is none of `text`, `json_object`, `json_schema` and `regex`.
    """
    kind = (response_format or {}).get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return json_rule({"type": "object"})
    if kind == "json_schema":
        described = response_format.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        if not isinstance(schema, dict | bool):
            raise RequestFailed(
                "invalid_json_schema",
                "response_format.json_schema.schema must be a JSON schema: an object, or true",
                "response_format.json_schema.schema",
            )
        return schema_rule(schema, "the JSON schema", "response_format.json_schema.schema")
    if kind == "regex":
        regex = response_format.get("regex")
        if not isinstance(regex, str) or not regex:
            raise RequestFailed(
                "invalid_regex", "response_format.regex must be a regular expression", "response_format.regex"
            )
        _check_size(regex, "invalid_regex", "response_format.regex")
        if "(?P=" in regex:
            raise RequestFailed(
                "invalid_regex",
                "the regular expression cannot be compiled: backreferences are not supported",
                "response_format.regex",
            )
        rule = regex_rule(regex)
        _compile(rule, "invalid_regex", "the regular expression", "response_format.regex")
        return rule
    raise RequestFailed(
        "unsupported",
        "response format %r is unknown; there are text, json_object, json_schema and regex" % kind,
        "response_format.type",
    )


def json_rule(schema):
    """JSON that is valid under `schema`."""
    if isinstance(schema, dict):
        schema = {**schema, "x-guidance": _JSON_OPTIONS}
    return "%json " + json.dumps(schema)


def regex_rule(regex):
    """Text that matches `regex` as a whole, in the syntax of Rust's regex crate."""
    out, escaped = [], False
    for character in regex:
        if character == "/" and not escaped:
            out.append("\\/")
        elif character == "\n":
            # A line break ends Lark's literal; behind a backslash it stands for itself too.
            out.append("n" if escaped else "\\n")
        else:
            out.append(character)
        escaped = character == "\\" and not escaped
    # An empty literal would begin a comment.
    return "/(?:%s)/" % "".join(out)


def schema_rule(schema, what, param):
    """`json_rule` of a schema that is not ours.

    Args:
        schema: what was sent.
        what: the same in words.
        param: where it was sent.

    Raises:
        RequestFailed: `invalid_json_schema`: it cannot be compiled.
    """
    for pattern in _patterns(schema):
        _check_size(pattern, "invalid_json_schema", param)
    rule = json_rule(schema)
    _compile(rule, "invalid_json_schema", what, param)
    return rule


def text_rule(text):
    """Just this text."""
    return json.dumps(text)


def document(rules):
    """The grammar that llama.cpp takes, from rule bodies by name; one of them is `start`."""
    return _HEADER + "".join("%s: %s\n" % (name, body) for name, body in rules.items())


def expanded(regex):
    """Characters and classes of a regular expression with its counted repetitions written out."""
    groups, before, last = [], 0, 0
    for atom in _ATOM.finditer(regex):
        text = atom[0]
        if text == "(":
            groups.append(before + last)
            before = last = 0
        elif text == ")" and groups:
            before, last = groups.pop(), before + last
        elif atom["most"]:
            last *= max(1, int(atom["most"]), int(atom["least"] or 0))
        else:
            before, last = before + last, 1
    return sum(groups) + before + last


def _patterns(schema):
    """Every regular expression in a JSON schema."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("pattern"), str):
                yield value["pattern"]
            if isinstance(value.get("patternProperties"), dict):
                yield from value["patternProperties"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_size(regex, code, param):
    size = expanded(regex)
    if size > MAX_EXPANDED:
        message = "the regular expression is too large: %d characters with its repetitions written out, at most %d" % (
            size,
            MAX_EXPANDED,
        )
        raise RequestFailed(code, message, param)


def _compile(rule, code, what, param):
    if len(rule) > MAX_CHARS:
        raise RequestFailed(code, "%s is longer than %d characters" % (what, MAX_CHARS), param)
    error = LLMatcher.validate_grammar(document({"start": rule})) or _limits(rule)
    if error:
        raise RequestFailed(code, "%s cannot be compiled: %s" % (what, _reason(error)), param)


def _bytes():
    """The tokenizer whose tokens are single bytes."""
    global _BYTES
    if _BYTES is None:
        _BYTES = LLTokenizer("byte")
    return _BYTES


def _limits(rule):
    """The error of a rule that is right but too large to follow; an empty string for others."""
    matcher = LLMatcher(_bytes(), document({"start": rule}), log_level=0)
    matcher.compute_logit_bias()
    return matcher.get_error()


def _reason(error):
    """What is wrong, without the place in a text that the caller never saw."""
    error = _CARET.sub("", error)
    while (shorter := _PLACE.sub("", error)) != error:
        error = shorter
    if "error: " in error:
        error = error.rpartition("error: ")[2]
    error = re.sub(r'^invalid regex .*\(in regex\): |; \w+ in regex .*|"\)+$', "", error, flags=re.DOTALL)
    if error.startswith("lookarounds not supported"):
        error = "anchors inside it, word boundaries and look-around are not supported"
    return " ".join(error.split())


class Guard:
    """Follows an answer and tells whether it keeps to a rule, so that no constraint is lost in silence.

    Args:
        rule: of `of_format`.
    """

    def __init__(self, rule):
        # The engine takes runs of space that together are longer than the bound, as deep indentation needs.
        rule = rule.replace(_SPACE, _ANY_SPACE)
        self._matcher = LLMatcher(_bytes(), document({"start": rule}), log_level=0)

    def take(self, text):
        """The answer's next piece.

        Raises:
            RequestFailed: it breaks the rule.
        """
        tokens = _bytes().tokenize_bytes(text.encode("utf-8", "replace"))
        if self._matcher.try_consume_tokens(tokens) != len(tokens):
            if self._matcher.is_error():
                message = "the response format is too complex to be followed further; simplify it"
                raise RequestFailed("invalid_request", message, "response_format")
            raise RequestFailed("engine_failed", "the engine's answer does not keep to the response format")

    def complete(self):
        """Whether what was taken is a whole answer."""
        return self._matcher.is_accepting()
