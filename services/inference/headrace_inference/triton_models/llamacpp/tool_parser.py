"""Finds tool calls in an answer that comes in pieces.

Text is held back only while it may still turn out to be a call; what turns out to be none is text.
"""

import json
import re
import secrets

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_FENCE = "```"
_LABELS = ("json", "tool_call")
_FENCED = re.compile(r"```([a-z_]*)")
_FIRST_KEY = re.compile(
    r'\s*(?:\[\s*)?(?:\{\s*(?:"(?P<key>[^"]*)(?P<closed>"\s*(?::\s*(?:"(?P<value>[^"\\]*)(?P<ended>"?))?)?)?)?)?'
)
_KEYS = ("name", "arguments", "parameters", "type", "function", "id")
_MARKS = re.compile(r'[{}\[\]"]')
_IN_STRING = re.compile(r'["\\]')


class ToolParser:
    """Splits text into text and calls. What comes out does not depend on where it was cut.

    A call is a JSON object that names one of the tools (or a list of such): in `<tool_call>` tags, in a code fence at
    the start of a line, or bare where nothing but white space and calls went before.

    Args:
        names: of the tools.
        limit: calls that are reported; further ones are dropped. None: all are.

    Attributes:
        calls: how many were reported.
    """

    def __init__(self, names, limit=None):
        self.calls = 0
        self._names = frozenset(names)
        self._limit = limit
        self._held = ""
        self._said = []
        self._found = []
        self._fresh = True  # nothing but white space and calls so far
        self._line_start = True
        self._closer = ""  # what should end the last call
        self._json = None  # the candidate that is being read

    def feed(self, text):
        """The text and the calls that are certain after the next piece, each call as the wire format has it."""
        self._held += text
        return self._advance(last=False)

    def end(self):
        """The text and the calls that are left at the end of the answer."""
        return self._advance(last=True)

    def _advance(self, last):
        while self._held and (self._in_fresh(last) if self._fresh else self._in_text(last)):
            pass
        said, found = "".join(self._said), self._found
        self._said, self._found = [], []
        return said, found

    # Both return whether there is more to do with what is held.

    def _in_fresh(self, last):
        rest = self._held.lstrip()
        space = len(self._held) - len(rest)
        if not rest:
            if last:
                self._drop_or_say(space)
            return False
        if self.calls or self._closer:
            for closer in (CLOSE, self._closer):
                if closer and rest.startswith(closer):
                    self._held = rest[len(closer) :]
                    self._closer = "" if closer == self._closer else self._closer
                    return True
                if closer and closer.startswith(rest):
                    if last:
                        self._held = ""
                    return False
        opened = _opener(rest, last) if rest[0] in "<`" else 0
        if opened is None:
            return False
        if opened or rest[0] in "{[":
            return self._candidate(space, opened, last)
        self._fresh = False
        return True

    def _in_text(self, last):
        held = self._held
        place = 0
        while True:
            tag, fence = held.find("<", place), held.find("`", place)
            place = min((found for found in (tag, fence) if found >= 0), default=-1)
            if place < 0:
                self._say(len(held))
                return False
            at_line_start = held[place - 1] == "\n" if place else self._line_start
            if held[place] == "<" or at_line_start:
                opened = _opener(held[place:], last)
                if opened is None:
                    self._say(place)
                    return False
                if opened:
                    self._say(place)
                    return self._candidate(0, opened, last)
            place += 1

    def _candidate(self, space, opened, last):
        """Read what may be a call behind `space` white space and `opened` characters that open it."""
        if self._json is None:
            self._json = _Object(self._names)
        start = space + opened
        state = self._json.read(self._held, start)
        if state is None and not last:
            return False
        self._json = None
        if not state:
            # No call: what opened it is text, and what follows is looked at as text.
            self._fresh = False
            self._say(start + (0 if opened else 1))
            return True
        entries, size = state
        for name, arguments in entries:
            if self._limit is None or self.calls < self._limit:
                call = {"index": self.calls, "id": "call_" + secrets.token_hex(12), "name": name}
                self._found.append({**call, "arguments": arguments})
                self.calls += 1
        if opened:
            self._closer = CLOSE if self._held[space] == "<" else _FENCE
        self._held = self._held[size:]
        self._fresh = True
        self._line_start = False
        return True

    def _drop_or_say(self, size):
        """White space at the end belongs to the calls, where there were some."""
        if self.calls:
            self._held = ""
        else:
            self._say(size)

    def _say(self, size):
        if size:
            self._said.append(self._held[:size])
            self._line_start = self._held[size - 1] == "\n"
            self._held = self._held[size:]


def _opener(text, last):
    """Length of what opens a call at the beginning of `text`; 0 for none, None where that is not yet known."""
    if text.startswith(OPEN):
        return len(OPEN)
    if text.startswith(_FENCE):
        label = _FENCED.match(text)
        if label.end() == len(text) and not last and any(known.startswith(label[1]) for known in _LABELS):
            return None
        return label.end() if label[1] in ("", *_LABELS) else 0
    return None if not last and (OPEN.startswith(text) or _FENCE.startswith(text)) else 0


class _Object:
    """Reads a JSON object or list that grows, each character once."""

    def __init__(self, names):
        self._names = names
        self._at = None
        self._depth = 0
        self._in_string = False

    def read(self, text, start):
        """`((name, arguments) pairs, end)` of the calls from `start` on; False for none, None for not yet known."""
        if not self._may_be_call(text, start):
            return False
        if self._at is None:
            self._at = start
        while True:
            found = (_IN_STRING if self._in_string else _MARKS).search(text, self._at)
            if not found:
                self._at = len(text)
                return None
            mark = found[0]
            if mark == "\\":
                if found.end() == len(text):
                    self._at = found.start()
                    return None
                self._at = found.end() + 1
                continue
            self._at = found.end()
            if mark == '"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if mark in "{[" else -1
                if self._depth <= 0:
                    entries = _entries(text[start : self._at], self._names)
                    return (entries, self._at) if entries else False

    def _may_be_call(self, text, start):
        """Whether the first key, as far as it is known, is one that a call has."""
        head = _FIRST_KEY.match(text, start)
        if head["key"] is None:
            return head.end() == len(text)
        if head["closed"] is None:
            return head.end() == len(text) and any(known.startswith(head["key"]) for known in _KEYS)
        if head["key"] == "name" and head["ended"]:
            return head["value"] in self._names
        return head["key"] in _KEYS


def _entries(text, names):
    """(name, arguments as JSON text) of the calls that a JSON text is, or None where it is none."""
    try:
        read = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    entries = [_entry(item, names) for item in (read if isinstance(read, list) else [read])]
    return None if None in entries else entries


def _entry(item, names):
    if not isinstance(item, dict) or not set(item) <= set(_KEYS):
        return None
    function = item["function"] if isinstance(item.get("function"), dict) else item
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None
    if function.get("name") not in names or not isinstance(arguments, dict):
        return None
    return function["name"], json.dumps(arguments, ensure_ascii=False)


def _refuse(constant):
    raise ValueError("%s is not JSON" % constant)
