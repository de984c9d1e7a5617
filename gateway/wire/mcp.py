"""MCP messages over streamable HTTP: which may pass, and where their texts and tools stand. No I/O.

JSON-RPC 2.0 as the Model Context Protocol has it from 2025-03-26 to 2025-11-25, one message per body. What is not known
by name does not pass, in either direction; nor do batches, tasks and content that is not text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.wire.format import Api, Endpoint, bearer, code, explain, malformed, unscannable

NAME = "mcp"
"""In events as `wire_format`."""
VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
"""Protocol revisions whose messages are known; newer ones have no sessions and other ways for servers to ask back."""
METHODS = frozenset(
    (
        "initialize",
        "ping",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
    )
)
"""What a client may ask."""
NOTIFICATIONS = frozenset(
    f"notifications/{name}" for name in ("initialized", "cancelled", "progress", "roots/list_changed")
)
"""What a client may tell."""
SERVER_NOTIFICATIONS = frozenset(
    f"notifications/{name}"
    for name in (
        "cancelled",
        "progress",
        "message",
        "resources/updated",
        "resources/list_changed",
        "tools/list_changed",
        "prompts/list_changed",
        "elicitation/complete",
    )
)
"""What a server may tell."""
CAPABILITIES = {
    "sampling": "sampling/createMessage",
    "elicitation": "elicitation/create",
    "roots": "roots/list",
}
"""What a client offers to servers -> the request that uses it."""

METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR = -32601, -32602, -32600, -32700
UNSUPPORTED_VERSION = -32022
BLOCKED = -32050
"""In the range that JSON-RPC leaves to servers; the reason is in `data.code`."""
_CODES = {
    "POLICY.TOOL_DENIED": INVALID_PARAMS,
    "POLICY.TOOL_PARAMS": INVALID_PARAMS,
    "POLICY.ROUTE:rpc_method": METHOD_NOT_FOUND,
    "WIRE.MALFORMED:json": PARSE_ERROR,
    "WIRE.MALFORMED:version": UNSUPPORTED_VERSION,
}
MAX_ID = 256
"""Characters of an id; real ones have at most 36."""

Id = str | int


class Message(NamedTuple):
    """What kind a message is: `request`, `notification` or `answer`."""

    kind: str
    id: Id | None
    method: str | None


def classify(value: Any, scope: str) -> Message:
    """Read the envelope (JSON-RPC 2.0, sections 4 and 5). Raises Refusal."""
    if isinstance(value, list) and scope == REQUEST:
        raise Refusal("WIRE.MALFORMED", "batch")
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise malformed(scope)
    marker, method, known = value.get("id"), value.get("method"), {"jsonrpc", "id", "method", "params"}
    if "method" in value:
        if not isinstance(method, str) or not isinstance(value.get("params", {}), dict):
            raise malformed(scope)
        kind = "request" if "id" in value else "notification"
    else:
        kind, known = "answer", {"jsonrpc", "id", "result", "error"}
        if ("result" in value) == ("error" in value) or not isinstance(value.get("result", value.get("error")), dict):
            raise malformed(scope)
    if kind != "notification" and not _is_id(marker) and not (marker is None and "error" in value):
        raise malformed(scope)
    if not known.issuperset(value):
        raise malformed(scope)
    return Message(kind, marker, method)


def _is_id(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and 0 < len(value) <= MAX_ID)


def read_client(
    value: dict[str, Any], message: Message, fields: Fields, inspection: Inspection, allowed: frozenset[str]
) -> None:
    """Collect a client's message and hold its call against the rules. Raises Refusal.

    `allowed`: what servers may ask of this agent.
    """
    if message.kind == "answer":
        result = value.get("result", {})
        if any(name != "_meta" for name in result) and not allowed:
            raise Refusal("POLICY.TOOL_DENIED", "server_request")
        _contents(result, REQUEST)
        fields.members(value, "user", ("jsonrpc",))
        return
    if message.method not in (METHODS if message.kind == "request" else NOTIFICATIONS):
        raise Refusal("POLICY.ROUTE", "rpc_method")
    params = value.get("params", {})
    if "task" in params:  # its result would come by another way, for which there are no rules
        raise unscannable(REQUEST, "option")
    if message.method == "initialize":
        offered = params.get("capabilities")
        if not isinstance(params.get("protocolVersion"), str) or not isinstance(offered, dict):
            raise malformed(REQUEST)
        params["capabilities"] = {k: v for k, v in offered.items() if CAPABILITIES.get(k) in allowed}
    if message.method == "tools/call":
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise malformed(REQUEST)
        inspection.tool_call(name, arguments, REQUEST, "tool_args", new=True)
    if isinstance(message.id, str):
        fields.fixed(message.id, "metadata")
    for name in params:
        fields.fixed(name, "metadata")
        fields.tree(params, name, "tool_args" if name == "arguments" else "metadata")


def read_server(
    value: dict[str, Any], message: Message, fields: Fields, inspection: Inspection, allowed: frozenset[str]
) -> None:
    """Collect a server's message; tools it lists that the agent may not see are taken out. Raises Refusal.

    A result is read by its shape, not by what was asked: replayed ones come without their question.
    """
    if message.kind == "request":
        if message.method != "ping" and message.method not in allowed:
            raise Refusal("POLICY.TOOL_DENIED", "server_request", RESPONSE)
        if "tools" in value.get("params", {}):  # calls made while sampling would pass no rules
            raise unscannable(RESPONSE)
    elif message.kind == "notification":
        if message.method not in SERVER_NOTIFICATIONS:
            raise malformed(RESPONSE)
    else:
        _result(value.get("result", {}), inspection)
    _contents(value.get("params", value.get("result", {})), RESPONSE)
    fields.members(value, "tool_result", ("jsonrpc", "method", "result"))
    if "result" in value:
        fields.members(value["result"], "tool_result", ("tools",))  # which were read one by one


def _result(result: dict[str, Any], inspection: Inspection) -> None:
    if "protocolVersion" in result:
        if result["protocolVersion"] not in VERSIONS:
            raise malformed(RESPONSE)
        offered = result.get("capabilities")
        if isinstance(offered, dict):
            offered.pop("tasks", None)
    if "task" in result:
        raise unscannable(RESPONSE)
    if "tools" in result:
        tools = result["tools"]
        if not isinstance(tools, list):
            raise malformed(RESPONSE)
        result["tools"] = [tool for tool in tools if _may_see(tool, inspection)]


def _may_see(tool: Any, inspection: Inspection) -> bool:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise malformed(RESPONSE)
    fields = Fields(RESPONSE)
    fields.members(tool, "tool_def")
    return inspection.listed_tool(tool, fields)


def _contents(result: dict[str, Any], scope: str) -> None:
    """Refuse content that is not text, wherever the protocol has content: results, prompts, samples, resources."""
    blocks: list[Any] = []
    for holder in [result, *_dicts(result.get("messages"))]:
        content = holder.get("content")
        blocks += content if isinstance(content, list) else [] if content is None or "action" in holder else [content]
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        resource = block.get("resource") if kind == "resource" else {}
        if kind not in ("text", "resource_link", "resource") or not isinstance(resource, dict) or "blob" in resource:
            raise unscannable(scope)
    if any("blob" in resource for resource in _dicts(result.get("contents"))):
        raise unscannable(scope)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def error(refusal: Refusal, request_id: str, answered: Id | None = None) -> dict[str, Any]:
    """The JSON-RPC error for a refusal; says the code and never the content. `answered`: id of the client's request."""
    said: dict[str, Any] = {"code": code(refusal), "scope": refusal.scope, "request_id": request_id}
    if code(refusal) == "WIRE.MALFORMED:version":
        said["supported"] = list(VERSIONS)
    number = _CODES.get(code(refusal)) or _CODES.get(refusal.code)
    if number is None:
        number = INVALID_REQUEST if refusal.code == "WIRE.MALFORMED" and refusal.scope == REQUEST else BLOCKED
    body = {"code": number, "message": f"{explain(refusal)}. Request {request_id}.", "data": said}
    return {"jsonrpc": "2.0", "id": answered, "error": body}


def replacement(value: Any, refusal: Refusal, request_id: str, answered: Id | None) -> dict[str, Any]:
    """What a client gets instead of an answer that is kept back: for a tool's result one that says so to the model."""
    result = value.get("result") if isinstance(value, dict) else None
    if isinstance(result, dict) and isinstance(result.get("content"), list):
        text = f"{explain(refusal)} [{code(refusal)}]. Request {request_id}."
        shown = {"content": [{"type": "text", "text": text}], "isError": True}
        return {"jsonrpc": "2.0", "id": answered, "result": shown}
    return error(refusal, request_id, answered)


def not_offered(asked: Id | None) -> dict[str, Any]:
    """What the gateway tells a server that asks for something the policy does not allow."""
    return {"jsonrpc": "2.0", "id": asked, "error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}


API = Api(
    endpoints=(Endpoint("/mcp", "", None, methods=("POST", "GET", "DELETE")),),
    key_headers=("Authorization",),
    authorize=bearer,
    error_body=error,
)
