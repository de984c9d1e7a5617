"""Content blocks of Anthropic messages: texts, reasoning, tool calls and their results. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.fields import Fields
from gateway.filter import Inspection
from gateway.wire.format import malformed, unscannable

CALLS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
SEALED = frozenset(("signature", "encrypted_content", "encrypted_index", "encrypted_stdout"))
"""Signed or encrypted by the provider, which takes it back unchanged only."""

_REASONING = {
    "thinking": frozenset(("thinking", "signature")),
    "redacted_thinking": frozenset(("data",)),
}
_RESULTS = {
    # results of tools that the provider runs: type -> the tool's name
    "web_search_tool_result": "web_search",
    "code_execution_tool_result": "code_execution",
    "bash_code_execution_tool_result": "bash_code_execution",
    "text_editor_code_execution_tool_result": "text_editor_code_execution",
}


def block_type(block: Any, scope: str) -> str:
    """Its `type`. Raises Refusal when there is none."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise malformed(scope)
    return kind


def read_content(holder: Any, key: str, location: str, fields: Fields, inspection: Inspection) -> None:
    """A text, or blocks, at `holder[key]`."""
    content = holder.get(key)
    if isinstance(content, str):
        fields.text(holder, key, location)
    elif isinstance(content, list):
        for block in content:
            read_block(block, location, fields, inspection)
    else:
        raise malformed(fields.scope)


def read_block(block: Any, location: str, fields: Fields, inspection: Inspection) -> None:
    """One block; `location` is that of plain text in it. Images, files and unknown blocks are refused."""
    kind = block_type(block, fields.scope)
    if kind == "text":
        fields.members(block, location, sealed=SEALED)
    elif kind in _REASONING:
        fields.members(block, "assistant", sealed=_REASONING[kind])
    elif kind in CALLS:
        read_call(block, fields, inspection)
    elif kind in ("tool_result", "mcp_tool_result"):
        fields.members(block, "tool_result", ("content",))
        if block.get("content") is not None:
            read_content(block, "content", "tool_result", fields, inspection)
    elif kind in _RESULTS:
        inspection.tool(_RESULTS[kind], fields.scope, "tool_result")
        fields.members(block, "tool_result", sealed=SEALED)
    elif kind == "tool_reference":
        inspection.tool(_text(block, "tool_name", fields.scope), fields.scope, "tool_result")
        fields.members(block, "tool_result")
    elif kind == "search_result":
        fields.members(block, "tool_result", ("content",))
        read_content(block, "content", "tool_result", fields, inspection)
    elif kind == "document" and _is_text(block.get("source")):
        fields.members(block, location)
    else:
        raise unscannable(fields.scope)


def read_call(block: dict[str, Any], fields: Fields, inspection: Inspection) -> None:
    """A call with its arguments, parsed."""
    if not isinstance(block.get("input"), dict):
        raise malformed(fields.scope)
    fields.members(block, "tool_args")
    inspection.tool_call(call_name(block, fields.scope), block["input"], fields.scope, "tool_args")


def call_name(block: dict[str, Any], scope: str) -> str:
    """What the allowlist calls it: the name; `<owner>/<name>` for tools of an MCP server or of a provider's toolset."""
    name = _text(block, "name", scope)
    key = "server_name" if block["type"] == "mcp_tool_use" else "toolset_name"
    return name if block.get(key) is None else f"{_text(block, key, scope)}/{name}"


def _text(block: dict[str, Any], key: str, scope: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise malformed(scope)
    return value


def _is_text(source: Any) -> bool:
    return isinstance(source, dict) and source.get("type") == "text"
