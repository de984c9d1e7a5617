"""Parts of Gemini contents, and tools: declared, allowed, called, and their results. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, Fields
from gateway.filter import Inspection
from gateway.wire.format import malformed, unscannable

SEALED = frozenset(("thoughtSignature",))
"""Encrypted by the provider, which takes it back unchanged only."""
CODE = "codeExecution"
"""The tool whose calls are code."""

_TEXT = frozenset(("text", "thought", "partMetadata", *SEALED))
_CALL = frozenset(("id", "name", "args"))
_RESULT = frozenset(("id", "name", "response", "willContinue", "scheduling"))
_TOOL_LOCATIONS = {
    "functionCall": "tool_args",
    "functionResponse": "tool_result",
    "executableCode": "tool_args",
    "codeExecutionResult": "tool_result",
    "toolCall": "tool_args",
    "toolResponse": "tool_result",
}


def read_content(content: Any, location: str, fields: Fields, inspection: Inspection) -> None:
    """A content with its parts."""
    if not isinstance(content, dict):
        raise malformed(fields.scope)
    parts = content.get("parts", [])
    if not isinstance(parts, list):
        raise malformed(fields.scope)
    for part in parts:
        read_part(part, location, fields, inspection)
    fields.members(content, location, ("parts",))


def read_part(part: Any, location: str, fields: Fields, inspection: Inspection) -> None:
    """One part; `location` is that of its text. Media, files and unknown members are refused."""
    if not isinstance(part, dict):
        raise malformed(fields.scope)
    for name in part:
        if name in _TOOL_LOCATIONS:
            if not isinstance(part[name], dict):
                raise malformed(fields.scope)
            _read_tool_part(name, part[name], fields, inspection)
            fields.tree(part, name, _TOOL_LOCATIONS[name])
        elif name not in _TEXT:
            raise unscannable(fields.scope)
    fields.members(part, location, _TOOL_LOCATIONS, SEALED)


def _read_tool_part(kind: str, value: dict[str, Any], fields: Fields, inspection: Inspection) -> None:
    scope, location = fields.scope, _TOOL_LOCATIONS[kind]
    if kind == "functionCall":
        if not value.keys() <= _CALL:  # arguments in pieces, each at a path of its own, are not put together here
            raise unscannable(scope)
        inspection.tool_call(_text(value, "name", scope), value.get("args"), scope, location)
    elif kind == "functionResponse":
        if not value.keys() <= _RESULT:
            raise unscannable(scope)
        inspection.tool(_text(value, "name", scope), scope, location)
    elif kind == "toolCall":
        inspection.tool_call(_text(value, "toolType", scope), value.get("args"), scope, location)
    elif kind == "toolResponse":
        inspection.tool(_text(value, "toolType", scope), scope, location)
    elif kind == "executableCode":
        inspection.tool_call(CODE, value, scope, location)
    else:
        inspection.tool(CODE, scope, location)


def read_tools(body: dict[str, Any], inspection: Inspection) -> None:
    """The tools a request declares, and those it allows. Their texts are collected with the rest of it."""
    for tool in items(body.get("tools")):
        if not isinstance(tool, dict):
            raise malformed(REQUEST)
        for kind, value in tool.items():
            if kind == "functionDeclarations":
                for function in items(value):
                    _define(function, inspection)
            elif kind == "mcpServers":
                for server in items(value):
                    transport = server.get("streamableHttpTransport") if isinstance(server, dict) else None
                    if not isinstance(transport, dict):
                        raise malformed(REQUEST)
                    inspection.tool(_text(transport, "url", REQUEST), REQUEST, "tool_def")
            else:  # a tool that the provider runs itself; its settings are its definition
                inspection.tool_definition(kind, "", value, REQUEST)
    config = body.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    if not isinstance(config, dict | None) or not isinstance(calling, dict | None):
        raise malformed(REQUEST)
    for name in items((calling or {}).get("allowedFunctionNames")):
        if not isinstance(name, str):
            raise malformed(REQUEST)
        inspection.tool(name, REQUEST, "tool_def")


def items(value: Any) -> list[Any]:
    """A list that may be left out."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(REQUEST)
    return value


def _define(function: Any, inspection: Inspection) -> None:
    if not isinstance(function, dict) or not isinstance(function.get("description"), str | None):
        raise malformed(REQUEST)
    schemas = [function[key] for key in ("parameters", "parametersJsonSchema") if function.get(key) is not None]
    if len(schemas) > 1:
        raise malformed(REQUEST)
    name = _text(function, "name", REQUEST)
    inspection.tool_definition(name, function.get("description") or "", schemas[0] if schemas else None, REQUEST)


def _text(value: dict[str, Any], key: str, scope: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise malformed(scope)
    return text
