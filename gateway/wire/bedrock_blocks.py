"""Content blocks of Bedrock Converse, and tools: declared, forced, called, and their results. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, Fields
from gateway.filter import Inspection
from gateway.wire.format import malformed, unscannable

SEALED = frozenset(("text", "signature", "redactedContent"))
"""Members of reasoning: signed or encrypted by the provider, which takes it back unchanged only."""
_PLAIN = frozenset(("text", "cachePoint", "citationsContent", "guardContent"))
_RESULTS = frozenset(("text", "json", "searchResult"))
_CHOICES = frozenset(("auto", "any", "tool"))


def only_member(value: Any, scope: str) -> str:
    """The name of the one member of a union. Raises Refusal when there is not exactly one."""
    if not isinstance(value, dict) or len(value) != 1:
        raise malformed(scope)
    (name,) = value
    return str(name)


def read_content(content: Any, location: str, fields: Fields, inspection: Inspection) -> None:
    """The blocks of a message or system prompt; `location` is that of plain text in them."""
    if not isinstance(content, list):
        raise malformed(fields.scope)
    for block in content:
        read_block(block, location, fields, inspection)


def read_block(block: Any, location: str, fields: Fields, inspection: Inspection) -> None:
    """One block. Images, audio, video, files and unknown blocks are refused."""
    kind = only_member(block, fields.scope)
    value = block[kind]
    if kind in _PLAIN:
        if isinstance(value, dict) and "image" in value:
            raise unscannable(fields.scope)
        fields.members(block, location)
    elif kind == "reasoningContent":
        fields.members(block, "assistant", sealed=SEALED)
    elif kind == "toolUse":
        read_call(value, fields, inspection)
    elif kind == "toolResult":
        content = value.get("content") if isinstance(value, dict) else None
        if not isinstance(content, list):
            raise malformed(fields.scope)
        for result in content:
            if only_member(result, fields.scope) not in _RESULTS:
                raise unscannable(fields.scope)
        fields.members(block, "tool_result")
    elif kind == "searchResult":
        fields.members(block, "tool_result")
    elif kind == "document" and isinstance(value, dict) and _is_text(value.get("source")):
        fields.members(block, location)
    else:
        raise unscannable(fields.scope)


def read_call(call: Any, fields: Fields, inspection: Inspection) -> None:
    """A call with its arguments, parsed."""
    if not isinstance(call, dict) or "input" not in call:
        raise malformed(fields.scope)
    fields.members(call, "tool_args")
    inspection.tool_call(tool_name(call, fields.scope), call["input"], fields.scope, "tool_args")


def read_tools(config: Any, inspection: Inspection) -> None:
    """The tools that `toolConfig` declares, and the one it forces. Its texts are collected with the rest."""
    if config is None:
        return
    if not isinstance(config, dict) or not isinstance(config.get("tools", []), list):
        raise malformed(REQUEST)
    for tool in config.get("tools", []):
        kind = only_member(tool, REQUEST)
        value = tool[kind]
        if kind == "toolSpec":
            schema, description = value.get("inputSchema") if isinstance(value, dict) else None, None
            if not isinstance(schema, dict) or not isinstance(description := value.get("description"), str | None):
                raise malformed(REQUEST)
            inspection.tool_definition(tool_name(value, REQUEST), description or "", schema.get("json"), REQUEST)
        elif kind == "systemTool":  # one that the provider runs itself
            inspection.tool_definition(tool_name(value, REQUEST), "", None, REQUEST)
        elif kind != "cachePoint":
            inspection.tool_definition(kind, "", value, REQUEST)
    choice = config.get("toolChoice")
    if choice is None:
        return
    kind = only_member(choice, REQUEST)
    if kind not in _CHOICES:
        raise malformed(REQUEST)
    if kind == "tool":
        inspection.tool(tool_name(choice["tool"], REQUEST), REQUEST, "tool_def")


def tool_name(value: Any, scope: str) -> str:
    """Its `name`."""
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise malformed(scope)
    return name


def _is_text(source: Any) -> bool:
    if not isinstance(source, dict):
        return False
    parts = source.get("content")
    return source.keys() == {"text"} or (
        source.keys() == {"content"}
        and isinstance(parts, list)
        and all(isinstance(p, dict) and p.keys() == {"text"} for p in parts)
    )
