"""YAML as plain data: no anchors, aliases, tags, merge keys, duplicate keys or second documents; bounded.

The limits are checked on the token stream, before anything is built, so a small file can neither grow in memory nor
name a Python type.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import ConfigError

MAX_BYTES = 256 * 1024
"""Of one file; the largest hand-written family is under 16 KiB."""
MAX_DEPTH = 50
"""Of nested lists and mappings."""

Lines = Mapping[tuple[str | int, ...], int]
"""Path of a value in the document (`("seeds", 0, "id")`) -> its line, counted from 1."""

_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_REFUSED: dict[type[yaml.Token], str] = {
    yaml.AnchorToken: "an anchor",
    yaml.AliasToken: "an alias",
    yaml.TagToken: "a tag",
    yaml.DirectiveToken: "a directive",
    yaml.DocumentEndToken: "a document end marker",
}


def load_yaml(path: Path, *, max_bytes: int = MAX_BYTES) -> tuple[Any, Lines]:
    """The document in `path` and the line of every value in it.

    Raises ConfigError with path and line when the file cannot be read, is not UTF-8, is too large or too deep, or
    uses a feature that plain data does not need.
    """
    try:
        with path.open("rb") as f:
            raw = f.read(max_bytes + 1)
    except OSError as e:
        raise ConfigError(f"cannot read the file: {e.strerror}", path) from None
    if len(raw) > max_bytes:
        raise ConfigError(f"larger than {max_bytes} bytes; split it", path, 1)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        line = raw[: e.start].count(b"\n") + 1
        raise ConfigError("not valid UTF-8; save the file as UTF-8", path, line) from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path | str) -> tuple[Any, Lines]:
    """`load_yaml` for text that is already in memory; `path` only names it in errors."""
    try:
        _scan(text, path)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        lines: dict[tuple[str | int, ...], int] = {}
        data = None if node is None else _build(node, (), lines, path)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        problem = getattr(e, "problem", None) or "cannot be parsed"
        raise ConfigError(f"not valid YAML: {problem}", path, mark.line + 1 if mark else _bad_line(text, e)) from None
    return data, lines


def _bad_line(text: str, error: yaml.YAMLError) -> int:
    """PyYAML reports unprintable characters by position, not by line."""
    position = getattr(error, "position", 0)
    return text[:position].count("\n") + 1


def _scan(text: str, path: Path | str) -> None:
    # Tokens come one by one, so nesting stops here before the composer sees it: libyaml's composer recurses and
    # would overflow the stack on 100,000 brackets. It is five to ten times as fast as the pure Python one.
    depth = 0
    documents = 0
    content = False
    for token in yaml.scan(text, Loader=yaml.CSafeLoader):
        line = token.start_mark.line + 1
        if (what := _REFUSED.get(type(token))) is not None:
            raise ConfigError(f"{what} is not allowed here; write the value out", path, line)
        if isinstance(token, yaml.DocumentStartToken):
            documents += 1
            if documents > 1 or content:
                raise ConfigError("a second document is not allowed; one file holds one", path, line)
        elif not isinstance(token, yaml.StreamStartToken | yaml.StreamEndToken):
            content = True
        if isinstance(token, _OPENING):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"nested deeper than {MAX_DEPTH}", path, line)
        elif isinstance(token, _CLOSING):
            depth -= 1


_CONSTRUCT = yaml.SafeLoader("")


def _build(
    node: yaml.Node, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], path: Path | str
) -> Any:
    line = node.start_mark.line + 1
    lines[at] = line
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, (*at, i), lines, path) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            key = _build(key_node, at, {}, path)
            if not isinstance(key, str) or not isinstance(key, Hashable):
                raise ConfigError(f"the key {key!r} is not text; put it in quotes", path, key_line)
            if key == "<<" and key_node.tag == "tag:yaml.org,2002:merge":
                raise ConfigError("a merge key is not allowed; write the values out", path, key_line)
            if key in out:
                raise ConfigError(f"the key `{key}` occurs twice", path, key_line)
            out[key] = _build(value_node, (*at, key), lines, path)
            lines[(*at, key)] = key_line
        return out
    if node.tag == "tag:yaml.org,2002:merge":
        return "<<"
    try:
        return _CONSTRUCT.construct_object(node, deep=True)
    except ValueError as e:
        raise ConfigError(f"{node.value!r} is no such date or number: {e}", path, line) from None
