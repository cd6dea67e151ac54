"""From YAML text to a validated `Config`, with errors that name file, line and field."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from headrace_kit.config.document import Config
from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (file, line from 1, dotted field) and what."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class ConfigInvalid(BadInput):
    """The file cannot be used; `problems` lists everything that is wrong with it."""

    code = "config_invalid"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load(path: Path) -> Config:
    """Read and validate a config file.

    Raises:
        ConfigInvalid: it is missing, not YAML, or not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigInvalid([Problem(str(path), 0, "", error.strerror or str(error))]) from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid([Problem(str(path), 0, "", "not UTF-8")]) from error
    return parse(text, str(path))


def parse(text: str, file: str = "headrace.yaml") -> Config:
    """Validate a config given as YAML text; `file` is only for messages.

    Raises:
        ConfigInvalid: it is not YAML or not valid.
    """
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigInvalid([Problem(file, mark.line + 1 if mark else 0, "", error.problem or "not YAML")]) from error
    if tree is None:
        tree = CommentedMap()
    if not isinstance(tree, CommentedMap):
        raise ConfigInvalid([Problem(file, 1, "", "the file must be a mapping of sections")])
    try:
        return Config.model_validate(_plain(tree))
    except ValidationError as error:
        raise ConfigInvalid([_problem(entry, tree, file) for entry in error.errors()]) from error


def _plain(node: Any) -> Any:
    """The tree without ruamel's types, so that pydantic's strictness and messages are the usual ones."""
    if isinstance(node, CommentedMap):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _problem(entry: Any, tree: CommentedMap, file: str) -> Problem:
    where = tuple(entry.get("ctx", {}).get("where") or entry["loc"])
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        siblings = _fields_at(where[:-1])
        message = f"unknown key{nearest(str(where[-1]), siblings)}"
    if entry["type"] == "union_tag_invalid":
        message = (
            f"{entry['ctx']['tag']!r} is not a known {entry['ctx']['discriminator'].strip(chr(39))}"
            f"{nearest(str(entry['ctx']['tag']), _tags(entry['ctx']['expected_tags']))}"
        )
    line, path = _line(where, tree)
    return Problem(file, line, _dotted(path), message)


def _tags(listed: str) -> list[str]:
    return [tag.strip().strip("'") for tag in listed.split(",")]


def _line(where: tuple[str | int, ...], tree: CommentedMap) -> tuple[int, list[str | int]]:
    """Line of the deepest part of `where` that stands in the file, and the path without pydantic's union tags."""
    node: Any = tree
    line, path = 1, []
    for part in where:
        if isinstance(node, CommentedMap) and part in node:
            line = node.lc.key(part)[0] + 1
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = node.lc.item(part)[0] + 1
        elif part == where[-1]:
            path.append(part)  # a missing field: the line is its parent's
            continue
        else:
            continue  # the tag of a discriminated union, which is not in the file
        node = node[part]
        path.append(part)
    return line, path


def _dotted(path: list[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _fields_at(where: tuple[str | int, ...]) -> list[str]:
    """Names of the valid keys at a place of the config, by walking the models' annotations."""
    kinds: list[Any] = [Config]
    for part in where:
        kinds = [inner for kind in kinds for inner in _step(kind, part)]
    return [name for kind in kinds if _is_model(kind) for name in kind.model_fields]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _step(kind: Any, part: str | int) -> list[Any]:
    if _is_model(kind):
        if part in kind.model_fields:
            return _unwrap(kind.model_fields[part].annotation)
        tags = [field.default for name, field in kind.model_fields.items() if name in ("engine", "check")]
        return [kind] if part in tags else []  # the union tag in pydantic's path
    args = typing.get_args(kind)
    if not args:
        return []
    return _unwrap(args[1] if typing.get_origin(kind) is dict else args[0])


def _unwrap(kind: Any) -> list[Any]:
    """The alternatives of an annotation, through Annotated and unions."""
    if typing.get_origin(kind) is typing.Annotated:
        return _unwrap(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (dict, tuple, list):
        return [kind]
    args = typing.get_args(kind)
    return [inner for arg in args for inner in _unwrap(arg)] if args else [kind]
