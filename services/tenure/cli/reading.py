"""Text of a file into plain values: JSON with comments, or YAML. Pure; `documents` says what the values mean.

JSON is tried first, because in YAML a tab is an error and `yes`, `1:30` and `010` are not what they look like. The
YAML read here has JSON's ideas of true, false, null and numbers; everything else is text.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

MAX_BYTES = 64 * 1024 * 1024


class DocumentError(ValueError):
    """A document cannot be used.

    Attributes:
        problems: one line each, with the place in the document.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_values(data: bytes) -> list[Any]:
    """The documents of a file as plain dicts, lists, strings, numbers, booleans and None.

    JSON is one document, with `#` and `//` comments; YAML may hold several, divided by `---`.

    Raises:
        DocumentError: it is neither, is empty, or is larger than 64 MiB.
    """
    if len(data) > MAX_BYTES:
        message = f"it is larger than {MAX_BYTES // 1024 // 1024} MiB: split it"
        raise DocumentError(message)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8"
        raise DocumentError(message) from None
    try:
        if without_comments(text).lstrip()[:1] in ("{", "["):
            return [_json(text)]
        values = [value for value in _yaml(text) if value is not None]
    except RecursionError:
        message = "it is nested too deeply"
        raise DocumentError(message) from None
    if not values:
        message = "it is empty"
        raise DocumentError(message)
    return values


def without_comments(text: str) -> str:
    """JSON text with its comments blanked out: from `#` or `//` to the end of the line, outside strings.

    Lines and columns stay where they are, for messages.
    """
    return _STRING_OR_COMMENT.sub(lambda match: match[0] if match[0].startswith('"') else " " * len(match[0]), text)


_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?:#|//)[^\n]*')


def _json(text: str) -> Any:
    try:
        return json.loads(without_comments(text), object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}, column {error.colno}: {error.msg}"
    # YAML in one line begins like JSON too. Where it is neither, its writer most likely meant JSON.
    try:
        [value] = _yaml(text)
    except ValueError:
        raise DocumentError(message) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, each in pairs:
        if key in value:
            message = f"{key!r} is there twice in one object"
            raise DocumentError(message)
        value[key] = each
    return value


def _no_constant(name: str) -> Any:
    message = f"{name} is not a number in JSON"
    raise DocumentError(message)


class _Loader(yaml.SafeLoader):
    """YAML with JSON's scalars, and without keys that are there twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as in yaml's own

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        seen = set()
        for key in keys:
            if not isinstance(key, str):
                message = f"line {node.start_mark.line + 1}: the key {key!r} is no text: put it in quotes"
                raise DocumentError(message)
            if key in seen:
                message = f"line {node.start_mark.line + 1}: {key!r} is there twice in one mapping"
                raise DocumentError(message)
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|)", ["~", "n", ""]),
    ("bool", r"(?:true|false)", ["t", "f"]),
    ("int", r"-?(?:0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^{_pattern}$"), _first)


def _yaml(text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        message = f"{where}{error.problem or error.context or 'it is neither JSON nor YAML'}"
        raise DocumentError(message) from None
    except yaml.YAMLError:
        message = "it is neither JSON nor YAML"
        raise DocumentError(message) from None
