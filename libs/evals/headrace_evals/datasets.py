"""Datasets: JSON lines, an item each.

    {"id": "leave-1", "input": "How many days?", "expected": "27", "metadata": {"topic": "leave"}}

`input` is a question, or a conversation as a list of `{"role", "content"}`. `target` is read as `expected`, so datasets
in the shape of inspect-ai can be used as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

ROLES = ("system", "developer", "user", "assistant", "tool")
MOST_ITEMS = 100_000


class DatasetInvalid(ValueError):
    """A dataset cannot be used; the message names file and line."""


class Item(Struct, frozen=True, omit_defaults=True):
    """One question.

    Attributes:
        id: unique in its dataset.
        input: text, or a conversation.
        expected: what a right answer says; None where no grader needs it.
        metadata: for people, and for reports.
    """

    id: str
    input: str | list[dict[str, Any]]
    expected: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def messages(self) -> list[dict[str, Any]]:
        """The conversation to send."""
        return [{"role": "user", "content": self.input}] if isinstance(self.input, str) else self.input

    def question(self) -> str:
        """The last thing that was said to the model, for people and judges."""
        if isinstance(self.input, str):
            return self.input
        return next((str(turn["content"]) for turn in reversed(self.input) if turn["role"] == "user"), "")


def read(path: Path) -> list[Item]:
    """The items of a file, in its order.

    Raises:
        DatasetInvalid: it is missing, empty, too long, or a line is no item.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetInvalid(f"{path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    return parse(text, str(path))


def parse(text: str, file: str) -> list[Item]:
    """The items of JSON lines; `file` is for messages. Raises as `read`."""
    items = []
    # Not `splitlines`: JSON may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                items.append(item_of(msgspec.json.decode(line)))
            except (msgspec.MsgspecError, ValueError) as error:
                raise DatasetInvalid(f"{file}:{number}: {error}") from error
    return check(items, file)


def check(items: list[Item], file: str) -> list[Item]:
    """The same items, if they make a dataset. Raises as `read`."""
    if not items:
        raise DatasetInvalid(f"{file}: it has no items")
    if len(items) > MOST_ITEMS:
        raise DatasetInvalid(f"{file}: it has {len(items)} items, more than {MOST_ITEMS}")
    seen: set[str] = set()
    for number, item in enumerate(items, 1):
        if item.id in seen:
            raise DatasetInvalid(f"{file}: item {number}: the id {item.id!r} is there twice")
        seen.add(item.id)
    return items


def item_of(tree: Any) -> Item:
    """An item of a decoded line.

    Raises:
        ValueError: it is none; the message names the field.
    """
    if not isinstance(tree, dict):
        raise ValueError('an item is an object with "id" and "input"')
    tree = dict(tree)
    if "target" in tree and "expected" not in tree:
        tree["expected"] = tree.pop("target")
    if isinstance(tree.get("id"), int) and not isinstance(tree["id"], bool):
        tree["id"] = str(tree["id"])
    known = {name: tree[name] for name in ("id", "input", "expected", "metadata") if tree.get(name) is not None}
    item = msgspec.convert(known, Item)
    if not item.id or not item.input:
        raise ValueError("`id` and `input` must not be empty")
    if not isinstance(item.input, str):
        for place, turn in enumerate(item.input):
            if turn.get("role") not in ROLES or "content" not in turn:
                raise ValueError(f"`input[{place}]` has a `role` of {', '.join(ROLES)}, and `content`")
    return item


def write(path: Path, items: Iterable[Item]) -> None:
    """Write a dataset."""
    lines = [msgspec.json.encode(item).decode() + "\n" for item in items]
    path.write_text("".join(lines), encoding="utf-8")
