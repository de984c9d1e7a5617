"""Tools in OpenAI chat: declared, forced and called, in the present and the older form. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, Fields
from gateway.filter import Inspection
from gateway.wire.format import malformed

CALLS = ("tool_calls", "function_call")
"""The members of a message that `read_calls` reads."""


def read_declared(body: dict[str, Any], inspection: Inspection) -> None:
    """The tools a request declares, and those it forces or allows. Their texts are collected with the rest of it."""
    for tool in _list(body.get("tools")):
        kind = _kind(tool, REQUEST)
        if kind in ("function", "custom"):
            _define(tool.get(kind), inspection)
        else:  # a tool that the provider runs itself; its settings are its definition
            inspection.tool_definition(kind, "", tool, REQUEST)
    for function in _list(body.get("functions")):
        _define(function, inspection)
    if body.get("web_search_options") is not None:
        inspection.tool_definition("web_search", "", body["web_search_options"], REQUEST)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            allowed = choice.get("allowed_tools")
            if not isinstance(allowed, dict):
                raise malformed(REQUEST)
            for tool in _list(allowed.get("tools")):
                inspection.tool(_tool_name(tool, REQUEST), REQUEST, "tool_def")
        else:
            inspection.tool(_tool_name(choice, REQUEST), REQUEST, "tool_def")
    elif choice not in (None, "none", "auto", "required"):
        raise malformed(REQUEST)
    forced = body.get("function_call")
    if isinstance(forced, dict):
        inspection.tool(_name(forced, REQUEST), REQUEST, "tool_def")
    elif forced not in (None, "none", "auto"):
        raise malformed(REQUEST)


def read_calls(message: dict[str, Any], fields: Fields, inspection: Inspection) -> None:
    """`tool_calls` and `function_call` of a message."""
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise malformed(fields.scope)
        for call in calls:
            read_call(call, fields, inspection)
    if message.get("function_call") is not None:
        _read_function(message["function_call"], "arguments", fields, inspection)


def read_call(call: Any, fields: Fields, inspection: Inspection) -> None:
    """One entry of `tool_calls`."""
    kind = _kind(call, fields.scope)
    if kind in ("function", "custom"):
        _read_function(call.get(kind), "input" if kind == "custom" else "arguments", fields, inspection)
        fields.members(call, "tool_args", (kind,))
    else:
        inspection.tool_call(kind, None, fields.scope, "tool_args")
        fields.members(call, "tool_args")


def function_name(message: dict[str, Any]) -> str:
    """The `name` of a message of the older role `function`."""
    return _name(message, REQUEST)


def _read_function(value: Any, key: str, fields: Fields, inspection: Inspection) -> None:
    """Name and arguments of a call; the input of a custom tool is free text, also where it looks like JSON."""
    name, arguments = _name(value, fields.scope), value.get(key)
    if isinstance(arguments, str) and key == "arguments":
        arguments = fields.json_text(value, key, "tool_args")
    elif key in value:
        fields.tree(value, key, "tool_args")
    inspection.tool_call(name, arguments, fields.scope, "tool_args")
    fields.members(value, "tool_args", (key,))


def _define(function: Any, inspection: Inspection) -> None:
    name, description = _name(function, REQUEST), function.get("description")
    if not isinstance(description, str | None):
        raise malformed(REQUEST)
    schema = function["parameters"] if "parameters" in function else function.get("format")
    inspection.tool_definition(name, description or "", schema, REQUEST)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(REQUEST)
    return value


def _name(value: Any, scope: str) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise malformed(scope)
    name: str = value["name"]
    return name


def _kind(tool: Any, scope: str) -> str:
    kind = tool.get("type", "function" if "function" in tool else None) if isinstance(tool, dict) else None
    if not isinstance(kind, str):
        raise malformed(scope)
    return kind


def _tool_name(tool: Any, scope: str) -> str:
    """The name of a function or custom tool; of a tool that the provider runs itself, its type."""
    kind = _kind(tool, scope)
    return _name(tool.get(kind), scope) if kind in ("function", "custom") else kind
