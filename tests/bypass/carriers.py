"""What clients send and providers answer in each wire format, with a text in it, as the providers document it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

MODEL = "sim-1"
TOOL = "get_balance"
SCHEMA = {"type": "object", "properties": {"account": {"type": "string"}}}


@dataclass(frozen=True)
class Carrier:
    """One wire format. `path` and `stream_path` are below the route's prefix."""

    name: str
    path: str
    stream_path: str
    streams: bool = True
    replies: bool = True
    tools: bool = True
    built_ins: tuple[dict[str, Any], ...] = field(default=())

    def request(self, *texts: str, **more: Any) -> dict[str, Any]:
        """A request whose last user turn has one part per text."""
        return {**_REQUESTS[self.name](list(texts)), **more}

    def conversation(self, *texts: str) -> dict[str, Any]:
        """A request with one user turn per text (providers that need alternation get empty answers between)."""
        return _CONVERSATIONS[self.name](list(texts))

    def declared(self, name: str, description: str = "Balance of an account.", schema: Any = None) -> dict[str, Any]:
        """The fields of a request that declare one tool."""
        return _DECLARED[self.name](name, description, SCHEMA if schema is None else schema)

    def forced(self, name: str) -> dict[str, Any]:
        """The fields of a request that force one tool."""
        return _FORCED[self.name](name)

    def reply(self, text: str) -> dict[str, Any]:
        """A whole reply with one text."""
        return _REPLIES[self.name](text)

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A whole reply that calls one tool."""
        return _CALLS[self.name](name, arguments)

    def stream(self, *pieces: str) -> list[dict[str, Any]]:
        """The events of a streamed reply with one text in pieces (the JSON of each; `event_type` names them)."""
        return _STREAMS[self.name](list(pieces))

    def stream_call(self, name: tuple[str, ...], pieces: tuple[str, ...]) -> list[dict[str, Any]]:
        """The events of a streamed reply that calls a tool; name and arguments in pieces where the format cuts them."""
        return _STREAM_CALLS[self.name](name, pieces)


# -- OpenAI chat ------------------------------------------------------------------------------------------------------


def _chat_request(texts: list[str]) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "text", "text": t} for t in texts]}]}


def _chat_conversation(texts: list[str]) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": t} for t in texts]}


def _chat_reply(text: str | None, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }  # fmt: skip


def _chat_call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return _chat_reply(None, tool_calls=[{"id": "call_1", "type": "function", "function": function}])


def _chat_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}  # fmt: skip


def _chat_stream(pieces: list[str]) -> list[dict[str, Any]]:
    return [
        _chat_chunk({"role": "assistant", "content": ""}),
        *(_chat_chunk({"content": p}) for p in pieces),
        _chat_chunk({}, "stop"),
    ]


def _chat_stream_call(name: tuple[str, ...], pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    def part(**function: str) -> dict[str, Any]:
        return _chat_chunk({"tool_calls": [{"index": 0, "function": function}]})

    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name[0], "arguments": ""}}
    return [
        _chat_chunk({"role": "assistant", "content": None, "tool_calls": [first]}),
        *(part(name=n) for n in name[1:]),
        *(part(arguments=p) for p in pieces),
        _chat_chunk({}, "tool_calls"),
    ]


# -- OpenAI responses -------------------------------------------------------------------------------------------------


def _responses_request(texts: list[str]) -> dict[str, Any]:
    return {"model": MODEL, "input": [{"role": "user", "content": [{"type": "input_text", "text": t} for t in texts]}]}


def _responses_conversation(texts: list[str]) -> dict[str, Any]:
    return {"model": MODEL, "input": [{"role": "user", "content": t} for t in texts]}


def _responses_item(text: str) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}]}  # fmt: skip


def _responses_body(output: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": MODEL, "output": output,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None,
        "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
    }  # fmt: skip


def _responses_call_item(name: str, arguments: str) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments,
            "status": "completed"}  # fmt: skip


def _numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**e, "sequence_number": n} for n, e in enumerate(events)]


def _responses_stream(pieces: list[str]) -> list[dict[str, Any]]:
    text, at = "".join(pieces), {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    return _numbered([
        {"type": "response.created", "response": _responses_body([], "in_progress")},
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**_responses_item(""), "content": [], "status": "in_progress"}},
        {"type": "response.content_part.added", **at, "part": empty},
        *({"type": "response.output_text.delta", **at, "delta": p} for p in pieces),
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.content_part.done", **at, "part": {**empty, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": _responses_item(text)},
        {"type": "response.completed", "response": _responses_body([_responses_item(text)])},
    ])  # fmt: skip


def _responses_stream_call(name: tuple[str, ...], pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    whole, arguments = "".join(name), "".join(pieces)
    at = {"item_id": "fc_1", "output_index": 0}
    return _numbered([
        {"type": "response.created", "response": _responses_body([], "in_progress")},
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**_responses_call_item(whole, ""), "status": "in_progress"}},
        *({"type": "response.function_call_arguments.delta", **at, "delta": p} for p in pieces),
        {"type": "response.function_call_arguments.done", **at, "arguments": arguments, "name": whole},
        {"type": "response.output_item.done", "output_index": 0, "item": _responses_call_item(whole, arguments)},
        {"type": "response.completed", "response": _responses_body([_responses_call_item(whole, arguments)])},
    ])  # fmt: skip


# -- Anthropic messages -----------------------------------------------------------------------------------------------


def _anthropic_request(texts: list[str]) -> dict[str, Any]:
    parts = [{"type": "text", "text": t} for t in texts]
    return {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": parts}]}


def _anthropic_conversation(texts: list[str]) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": t} for t in texts]}


def _anthropic_reply(content: list[dict[str, Any]], stop: str | None = "end_turn") -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content,
            "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 5}}  # fmt: skip


def _anthropic_events(block: dict[str, Any], deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"type": "message_start", "message": _anthropic_reply([], None)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]  # fmt: skip


def _anthropic_stream_call(name: tuple[str, ...], pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    block = {"type": "tool_use", "id": "toolu_1", "name": "".join(name), "input": {}}
    return _anthropic_events(block, [{"type": "input_json_delta", "partial_json": p} for p in pieces])


# -- Gemini -----------------------------------------------------------------------------------------------------------


def _gemini_request(texts: list[str]) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": t} for t in texts]}]}


def _gemini_reply(*parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8},
        "modelVersion": MODEL,
    }


def _gemini_stream(pieces: list[str]) -> list[dict[str, Any]]:
    chunks = [_gemini_reply({"text": p}) for p in pieces]
    for chunk in chunks[:-1]:
        del chunk["candidates"][0]["finishReason"]
    return chunks


# -- Bedrock Converse -------------------------------------------------------------------------------------------------


def _bedrock_request(texts: list[str]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": t} for t in texts]}]}


def _bedrock_reply(content: list[dict[str, Any]], stop: str = "end_turn") -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop,
            "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}, "metrics": {"latencyMs": 1}}  # fmt: skip


def _bedrock_events(start: dict[str, Any] | None, deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    begin = [] if start is None else [{"event_type": "contentBlockStart", "contentBlockIndex": 0, "start": start}]
    return [
        {"event_type": "messageStart", "role": "assistant"},
        *begin,
        *({"event_type": "contentBlockDelta", "contentBlockIndex": 0, "delta": d} for d in deltas),
        {"event_type": "contentBlockStop", "contentBlockIndex": 0},
        {"event_type": "messageStop", "stopReason": "end_turn"},
        {"event_type": "metadata", "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},
         "metrics": {"latencyMs": 1}},
    ]  # fmt: skip


def _bedrock_stream_call(name: tuple[str, ...], pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    start = {"toolUse": {"toolUseId": "t1", "name": "".join(name)}}
    return _bedrock_events(start, [{"toolUse": {"input": p}} for p in pieces])


_REQUESTS = {
    "openai_chat": _chat_request,
    "openai_responses": _responses_request,
    "openai_embeddings": lambda texts: {"model": MODEL, "input": texts},
    "anthropic_messages": _anthropic_request,
    "gemini": _gemini_request,
    "bedrock_converse": _bedrock_request,
}
_CONVERSATIONS = {
    "openai_chat": _chat_conversation,
    "openai_responses": _responses_conversation,
    "openai_embeddings": lambda texts: {"model": MODEL, "input": texts},
    "anthropic_messages": _anthropic_conversation,
    "gemini": lambda texts: {"contents": [{"role": "user", "parts": [{"text": t}]} for t in texts]},
    "bedrock_converse": lambda texts: {"messages": [{"role": "user", "content": [{"text": t}]} for t in texts]},
}
_DECLARED = {
    "openai_chat": lambda n, d, s: {
        "tools": [{"type": "function", "function": {"name": n, "description": d, "parameters": s}}]
    },
    "openai_responses": lambda n, d, s: {
        "tools": [{"type": "function", "name": n, "description": d, "parameters": s, "strict": False}]
    },
    "anthropic_messages": lambda n, d, s: {"tools": [{"name": n, "description": d, "input_schema": s}]},
    "gemini": lambda n, d, s: {
        "tools": [{"functionDeclarations": [{"name": n, "description": d, "parametersJsonSchema": s}]}]
    },
    "bedrock_converse": lambda n, d, s: {
        "toolConfig": {"tools": [{"toolSpec": {"name": n, "description": d, "inputSchema": {"json": s}}}]}
    },
}
_FORCED = {
    "openai_chat": lambda n: {"tool_choice": {"type": "function", "function": {"name": n}}},
    "openai_responses": lambda n: {"tool_choice": {"type": "function", "name": n}},
    "anthropic_messages": lambda n: {"tool_choice": {"type": "tool", "name": n}},
    "gemini": lambda n: {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [n]}}},
    "bedrock_converse": lambda n: {"toolConfig": {"tools": [], "toolChoice": {"tool": {"name": n}}}},
}
_REPLIES = {
    "openai_chat": _chat_reply,
    "openai_responses": lambda t: _responses_body([_responses_item(t)]),
    "anthropic_messages": lambda t: _anthropic_reply([{"type": "text", "text": t}]),
    "gemini": lambda t: _gemini_reply({"text": t}),
    "bedrock_converse": lambda t: _bedrock_reply([{"text": t}]),
}
_CALLS = {
    "openai_chat": _chat_call,
    "openai_responses": lambda n, a: _responses_body([_responses_call_item(n, json.dumps(a))]),
    "anthropic_messages": lambda n, a: _anthropic_reply(
        [{"type": "tool_use", "id": "toolu_1", "name": n, "input": a}], "tool_use"
    ),
    "gemini": lambda n, a: _gemini_reply({"functionCall": {"name": n, "args": a}}),
    "bedrock_converse": lambda n, a: _bedrock_reply(
        [{"toolUse": {"toolUseId": "t1", "name": n, "input": a}}], "tool_use"
    ),
}
_STREAMS = {
    "openai_chat": _chat_stream,
    "openai_responses": _responses_stream,
    "anthropic_messages": lambda ps: _anthropic_events(
        {"type": "text", "text": ""}, [{"type": "text_delta", "text": p} for p in ps]
    ),
    "gemini": _gemini_stream,
    "bedrock_converse": lambda ps: _bedrock_events(None, [{"text": p} for p in ps]),
}
_STREAM_CALLS = {
    "openai_chat": _chat_stream_call,
    "openai_responses": _responses_stream_call,
    "anthropic_messages": _anthropic_stream_call,
    "gemini": lambda n, ps: [_gemini_reply({"functionCall": {"name": "".join(n), "args": json.loads("".join(ps))}})],
    "bedrock_converse": _bedrock_stream_call,
}

CARRIERS = (
    Carrier(
        "openai_chat", "/v1/chat/completions", "/v1/chat/completions",
        built_ins=({"web_search_options": {}},),
    ),
    Carrier(
        "openai_responses", "/v1/responses", "/v1/responses",
        built_ins=(
            {"tools": [{"type": "web_search"}]},
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
            {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://mcp.attacker.example"}]},
        ),
    ),
    Carrier("openai_embeddings", "/v1/embeddings", "/v1/embeddings", streams=False, replies=False, tools=False),
    Carrier(
        "anthropic_messages", "/v1/messages", "/v1/messages",
        built_ins=(
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            {"tools": [{"type": "bash_20250124", "name": "bash"}]},
            {"mcp_servers": [{"type": "url", "name": "x", "url": "https://mcp.attacker.example"}]},
        ),
    ),
    Carrier(
        "gemini", "/v1beta/models/sim-1:generateContent", "/v1beta/models/sim-1:streamGenerateContent?alt=sse",
        built_ins=({"tools": [{"googleSearch": {}}]}, {"tools": [{"code_execution": {}}]}),
    ),
    Carrier(
        "bedrock_converse", "/model/sim-1/converse", "/model/sim-1/converse-stream",
        built_ins=({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}},),
    ),
)  # fmt: skip
