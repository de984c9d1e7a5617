"""Items of OpenAI responses, in requests and replies alike: messages, reasoning, calls, results; and tools. No I/O.

What a provider keeps and only names (a conversation, a file, an earlier item) was never seen here and is refused.
"""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, Fields
from gateway.filter import Inspection
from gateway.wire.format import malformed, unscannable, word

CALLS = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "mcp_call": "arguments",
    "mcp_approval_request": "arguments",
}
"""Items that call a tool by its name -> the member with its arguments."""
PROVIDER_CALLS = frozenset(
    f"{tool}_call"
    for tool in ("web_search", "file_search", "code_interpreter", "local_shell", "shell", "apply_patch", "tool_search")
)
"""Items that tell of a tool which the provider runs, or describes, itself; the tool's name is what stands before."""
TEXT_PARTS = frozenset(("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"))

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_RESULTS = frozenset(
    f"{tool}_call_output" for tool in ("function", "custom_tool", "local_shell", "shell", "apply_patch")
)
_CALL_DETAILS = ("action", "operation", "code", "queries", "arguments")


def read_item(item: Any, fields: Fields, inspection: Inspection) -> None:
    """One entry of `input` or `output`."""
    if not isinstance(item, dict):
        raise malformed(fields.scope)
    kind = item_type(item)
    if kind == "message":
        location = _ROLES.get(word(item, "role"))
        if location is None:
            raise malformed(fields.scope)
        _check_parts(item.get("content"), fields.scope)
        fields.members(item, location)
    elif kind == "reasoning":
        _check_parts(item.get("summary"), fields.scope)
        _check_parts(item.get("content"), fields.scope)
        if isinstance(item.get("encrypted_content"), str):
            fields.fixed(item["encrypted_content"], "assistant")
        fields.members(item, "assistant", ("encrypted_content",))
    elif kind in CALLS:
        _read_call(item, CALLS[kind], fields, inspection)
    elif kind in _RESULTS:
        _check_parts(item.get("output"), fields.scope)
        fields.members(item, "tool_result")
    elif kind == "mcp_list_tools":
        for tool in as_list(item.get("tools"), fields.scope):
            _define(tool, "input_schema", fields.scope, inspection)
        fields.members(item, "tool_def")
    elif kind == "mcp_approval_response":
        fields.members(item, "metadata")
    elif kind in PROVIDER_CALLS:
        arguments = {key: item[key] for key in _CALL_DETAILS if key in item}
        inspection.tool_call(kind.removesuffix("_call"), arguments, fields.scope, "tool_args")
        fields.members(item, "tool_args")
    elif kind in ("item_reference", ""):
        raise unscannable(fields.scope, "reference")
    else:
        raise unscannable(fields.scope)


def item_type(item: dict[str, Any]) -> str:
    """What an item is; clients may leave out the type of a message."""
    kind = item.get("type") or ("message" if "role" in item else "")
    return kind if isinstance(kind, str) else ""


def read_tools(body: dict[str, Any], inspection: Inspection) -> None:
    """The tools a request declares, and those it forces or allows. Their texts are collected with the rest of it."""
    for tool in as_list(body.get("tools"), REQUEST):
        _read_tool(tool, inspection)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            for tool in as_list(choice.get("tools"), REQUEST):
                inspection.tool(_tool_name(tool), REQUEST, "tool_def")
        else:
            inspection.tool(_tool_name(choice), REQUEST, "tool_def")
    elif choice not in (None, "none", "auto", "required"):
        raise malformed(REQUEST)


def _read_tool(tool: Any, inspection: Inspection) -> None:
    kind = _kind(tool)
    if kind in ("function", "custom"):
        _define(tool, "parameters" if kind == "function" else "format", REQUEST, inspection)
        return
    inspection.tool_definition(kind, "", tool, REQUEST)  # of a tool that the provider runs, its settings
    if kind == "namespace":
        for inner in as_list(tool.get("tools"), REQUEST):
            _read_tool(inner, inspection)


def _define(tool: Any, schema: str, scope: str, inspection: Inspection) -> None:
    name = _name(tool, scope)
    description = tool.get("description")
    if not isinstance(description, str | None):
        raise malformed(scope)
    inspection.tool_definition(name, description or "", tool.get(schema), scope)


def _read_call(item: dict[str, Any], key: str, fields: Fields, inspection: Inspection) -> None:
    """The input of a custom tool is free text, also where it looks like JSON."""
    name, arguments = _name(item, fields.scope), item.get(key)
    if isinstance(arguments, str) and key == "arguments":
        arguments = fields.json_text(item, key, "tool_args")
    elif key in item:
        fields.tree(item, key, "tool_args")
    inspection.tool_call(name, arguments, fields.scope, "tool_args")
    fields.members(item, "tool_args", (key,))


def _check_parts(content: Any, scope: str) -> None:
    """Text, or a list of parts that are text. What the tokens were is told a second time, cut up, and dropped."""
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise malformed(scope)
            if part["type"] not in TEXT_PARTS:
                raise unscannable(scope)
            if part.get("logprobs"):
                part["logprobs"] = []
    elif not isinstance(content, str | None):
        raise malformed(scope)


def as_list(value: Any, scope: str) -> list[Any]:
    """A list, or nothing for null. Raises Refusal."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(scope)
    return value


def _kind(tool: Any) -> str:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise malformed(REQUEST)
    kind: str = tool["type"]
    return kind


def _name(value: Any, scope: str) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise malformed(scope)
    name: str = value["name"]
    return name


def _tool_name(tool: Any) -> str:
    """The name of a function or custom tool; of a tool that the provider runs itself, its type."""
    kind = _kind(tool)
    return _name(tool, REQUEST) if kind in ("function", "custom") else kind
