"""OpenAI chat completions: where text and tools sit in requests and replies. No I/O.

Unknown parts, options that carry content past the filter, and shapes that are not understood are refused.
"""

from __future__ import annotations

from typing import Any, NoReturn

import orjson

from gateway.filter import REQUEST, RESPONSE, Inspection
from gateway.reasons import Refusal

WIRE_FORMAT = "openai_chat"
MAX_CHOICES = 16
"""Of one reply; each streamed choice has text held back for it."""

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool_result",
    "function": "tool_result",
}
_TEXT_PARTS = {"text", "refusal", "input_text", "output_text"}


def error_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The error object that OpenAI clients understand; says the code and never the content."""
    if refusal.code.startswith(("DLP.", "POLICY.TOOL")):
        message, kind = f"Blocked by policy ({refusal.scope}): {refusal.says}", "policy_violation"
    else:
        message = f"{refusal.says[0].upper()}{refusal.says[1:]}" + (f" ({refusal.detail})" if refusal.detail else "")
        kind = "invalid_request_error" if refusal.status < 500 else "gateway_error"
    code = refusal.code if refusal.detail is None else f"{refusal.code}:{refusal.detail}"
    return {
        "error": {"message": f"{message}. Request {request_id}.", "type": kind, "param": refusal.scope, "code": code}
    }


def inspect_request(body: Any, inspection: Inspection) -> dict[str, Any]:
    """The request as it may go upstream. Raises Refusal for shapes that are not understood; hits are noted only."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        _malformed()
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        _malformed()
    if not isinstance(body.get("stream", False), bool):
        _malformed()
    n = body.get("n", 1)
    if n is not None and (type(n) is not int or not 1 <= n <= MAX_CHOICES):
        _malformed()
    if body.get("logprobs") or body.get("top_logprobs"):
        _unscannable("option")  # the reply's tokens would travel a second time, cut up
    if body.get("modalities") not in (None, ["text"]) or body.get("audio") is not None:
        _unscannable("option")
    _declared_tools(body, inspection)
    result: dict[str, Any] = {}
    for key, value in body.items():
        inspection.fixed(key, REQUEST, "metadata")
        if key == "messages":
            result[key] = [_message(m, inspection) for m in value]
        elif key in ("tools", "functions"):
            result[key] = inspection.walk(value, REQUEST, "tool_def")
        elif key == "prediction":
            result[key] = inspection.walk(value, REQUEST, "assistant")
        else:
            result[key] = inspection.walk(value, REQUEST, "metadata")
    return result


def _malformed() -> NoReturn:
    raise Refusal("WIRE.MALFORMED", "shape")


def _unscannable(detail: str) -> NoReturn:
    raise Refusal("WIRE.UNSCANNABLE", detail)


def _message(message: Any, inspection: Inspection) -> dict[str, Any]:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        _malformed()
    location = _ROLES[message["role"]]
    if message["role"] == "function":
        inspection.tool(_name(message), REQUEST, "tool_result")
    if message.get("audio") is not None:
        _unscannable("part")
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            _malformed()
        if part["type"] not in _TEXT_PARTS:
            _unscannable("part")
    if not (content is None or isinstance(content, str | list)):
        _malformed()
    rest = {k: v for k, v in message.items() if k not in ("tool_calls", "function_call")}
    result: dict[str, Any] = inspection.walk(rest, REQUEST, location)
    result.update(_calls(message, inspection, REQUEST))
    return result


def _declared_tools(body: dict[str, Any], inspection: Inspection) -> None:
    for tool in _list(body.get("tools")):
        inspection.tool(_tool_name(tool), REQUEST, "tool_def")
    for function in _list(body.get("functions")):
        inspection.tool(_name(function), REQUEST, "tool_def")
    if body.get("web_search_options") is not None:
        inspection.tool("web_search", REQUEST, "tool_def")
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            allowed = choice.get("allowed_tools")
            if not isinstance(allowed, dict):
                _malformed()
            for tool in _list(allowed.get("tools")):
                inspection.tool(_tool_name(tool), REQUEST, "tool_def")
        else:
            inspection.tool(_tool_name(choice), REQUEST, "tool_def")
    elif choice not in (None, "none", "auto", "required"):
        _malformed()
    forced = body.get("function_call")
    if isinstance(forced, dict):
        inspection.tool(_name(forced), REQUEST, "tool_def")
    elif forced not in (None, "none", "auto"):
        _malformed()


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        _malformed()
    return value


def _name(value: Any, scope: str = REQUEST) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise Refusal("WIRE.MALFORMED", "shape" if scope == REQUEST else "upstream", scope)
    name: str = value["name"]
    return name


def _tool_name(tool: Any, scope: str = REQUEST) -> str:
    """The name of a function or custom tool; of a tool that the provider runs itself, its type."""
    kind = tool.get("type", "function" if "function" in tool else None) if isinstance(tool, dict) else None
    if not isinstance(kind, str):
        raise Refusal("WIRE.MALFORMED", "shape" if scope == REQUEST else "upstream", scope)
    return _name(tool.get(kind), scope) if kind in ("function", "custom") else kind


def _calls(message: dict[str, Any], inspection: Inspection, scope: str) -> dict[str, Any]:
    """`tool_calls` and `function_call` of a message, checked against the allowlist and with clean arguments."""
    result: dict[str, Any] = {}
    if "tool_calls" in message:
        calls = message["tool_calls"]
        if calls is not None and not isinstance(calls, list):
            raise Refusal("WIRE.MALFORMED", "shape" if scope == REQUEST else "upstream", scope)
        result["tool_calls"] = None if calls is None else [call(c, inspection, scope) for c in calls]
    if "function_call" in message:
        value = message["function_call"]
        if value is not None:
            inspection.tool(_name(value, scope), scope, "tool_args")
            value = _arguments(value, inspection, scope)
        result["function_call"] = value
    return result


def call(value: Any, inspection: Inspection, scope: str) -> dict[str, Any]:
    """One entry of `tool_calls`."""
    inspection.tool(_tool_name(value, scope), scope, "tool_args")
    return {
        k: _arguments(v, inspection, scope)
        if k in ("function", "custom") and isinstance(v, dict)
        else inspection.walk(v, scope, "tool_args")
        for k, v in value.items()
    }


def _arguments(value: dict[str, Any], inspection: Inspection, scope: str) -> dict[str, Any]:
    return {
        k: inspection.json_text(v, scope, "tool_args")
        if k in ("arguments", "input") and isinstance(v, str)
        else inspection.walk(v, scope, "tool_args")
        for k, v in value.items()
    }


def inspect_response(body: Any, inspection: Inspection) -> dict[str, Any]:
    """A whole reply as the client may have it. Raises Refusal for shapes that are not understood."""
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list) or len(body["choices"]) > MAX_CHOICES:
        raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
    choices = []
    for choice in body["choices"]:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
        if message.get("audio") is not None or isinstance(message.get("content"), dict):
            raise Refusal("WIRE.UNSCANNABLE", "upstream", RESPONSE)
        rest = {k: v for k, v in message.items() if k not in ("tool_calls", "function_call")}
        clean = inspection.walk(rest, RESPONSE, "assistant")
        clean.update(_calls(message, inspection, RESPONSE))
        outer = {k: v for k, v in choice.items() if k not in ("message", "logprobs")}
        choices.append({**inspection.walk(outer, RESPONSE, "metadata"), "message": clean})
    outer = {k: v for k, v in body.items() if k != "choices"}
    return {**inspection.walk(outer, RESPONSE, "metadata"), "choices": choices}


def usage(body: Any) -> tuple[int | None, int | None]:
    """(prompt tokens, completion tokens) if the provider said so."""
    reported = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(reported, dict):
        return None, None
    counts = [reported.get("prompt_tokens"), reported.get("completion_tokens")]
    tokens = [c if type(c) is int and 0 <= c < 1 << 53 else None for c in counts]
    return tokens[0], tokens[1]


def sse(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


SSE_DONE = b"data: [DONE]\n\n"
