"""The providers' batch interfaces: many questions handed in at once, answered within a day at half the price.

Anthropic Message Batches (`/v1/messages/batches`), OpenAI Batch (`/v1/files`, `/v1/batches`), Gemini Batch
(`:batchGenerateContent` with inline requests). Answers come in any order; `custom_id` or `metadata.key` tells which.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

import httpx

from tasks.judging.parse import strict_object
from tasks.targets.wire import Answer

Call = Callable[..., Awaitable[Answer]]
"""`call(method, path or URL, body, headers=…, decode=…)`: one request to the provider, with the judge's key."""


class BatchFailed(Exception):  # noqa: N818 - names what became of the batch
    """The batch as a whole gave nothing; the message is the `error_kind` of every vote in it."""


class State(NamedTuple):
    """How far a batch is."""

    done: bool
    answered: int
    where: str = ""
    """Where the results lie, once it is done."""


Lines = dict[int, Mapping[str, Any]]
"""Number of a question -> the provider's reply to it; one that failed is missing."""


class Batches(Protocol):
    """One provider's batch interface. Every call may raise BatchFailed."""

    async def submit(self, call: Call, model: str, bodies: Mapping[int, Mapping[str, Any]]) -> str:
        """Hand in the questions by number; returns the batch's name."""
        ...

    async def look(self, call: Call, name: str) -> State: ...

    async def results(self, call: Call, state: State) -> Lines: ...


class AnthropicBatches:
    async def submit(self, call: Call, model: str, bodies: Mapping[int, Mapping[str, Any]]) -> str:
        requests = [{"custom_id": _name(i), "params": body} for i, body in bodies.items()]
        return _text(await _good(call("POST", "/v1/messages/batches", {"requests": requests})), "id")

    async def look(self, call: Call, name: str) -> State:
        data = await _good(call("GET", f"/v1/messages/batches/{name}", None))
        counts = data.get("request_counts")
        answered = sum(n for k, n in counts.items() if k != "processing") if isinstance(counts, dict) else 0
        done = data.get("processing_status") == "ended"
        return State(done, answered, f"/v1/messages/batches/{name}/results")

    async def results(self, call: Call, state: State) -> Lines:
        found: Lines = {}
        for line in (await _good(call("GET", state.where, None, decode=lines)))["lines"]:
            result = line.get("result")
            if isinstance(result, dict) and result.get("type") == "succeeded":
                _keep(found, line.get("custom_id"), result.get("message"))
        return found


class OpenAIBatches:
    async def submit(self, call: Call, model: str, bodies: Mapping[int, Mapping[str, Any]]) -> str:
        asked = [
            {"custom_id": _name(i), "method": "POST", "url": "/v1/chat/completions", "body": body}
            for i, body in bodies.items()
        ]
        text = "\n".join(json.dumps(line) for line in asked).encode()
        form = httpx.Request(
            "POST", "http://localhost/", data={"purpose": "batch"}, files={"file": ("batch.jsonl", text)}
        )
        kind = {"content-type": form.headers["content-type"]}
        file = _text(await _good(call("POST", "/files", form.read(), headers=kind)), "id")
        order = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return _text(await _good(call("POST", "/batches", order)), "id")

    async def look(self, call: Call, name: str) -> State:
        data = await _good(call("GET", f"/batches/{name}", None))
        status = data.get("status")
        counts = data.get("request_counts")
        answered = int(counts.get("completed") or 0) if isinstance(counts, dict) else 0
        if status in ("failed", "cancelled") or (status == "expired" and not data.get("output_file_id")):
            raise BatchFailed(f"batch_{status}")
        done = status in ("completed", "expired")
        return State(done, answered, f"/files/{data.get('output_file_id') or ''}/content" if done else "")

    async def results(self, call: Call, state: State) -> Lines:
        found: Lines = {}
        if state.where == "/files//content":  # all of it failed: only an error file was written
            return found
        for line in (await _good(call("GET", state.where, None, decode=lines)))["lines"]:
            response = line.get("response")
            if isinstance(response, dict) and response.get("status_code") == 200:
                _keep(found, line.get("custom_id"), response.get("body"))
        return found


class GoogleBatches:
    async def submit(self, call: Call, model: str, bodies: Mapping[int, Mapping[str, Any]]) -> str:
        requests = [{"request": body, "metadata": {"key": _name(i)}} for i, body in bodies.items()]
        batch = {"displayName": "aispm", "inputConfig": {"requests": {"requests": requests}}}
        path = f"/v1beta/models/{model}:batchGenerateContent"
        return _text(await _good(call("POST", path, {"batch": batch})), "name")

    async def look(self, call: Call, name: str) -> State:
        data = await _good(call("GET", f"/v1beta/{name}", None))
        metadata = data.get("metadata")
        state = str(metadata.get("state")) if isinstance(metadata, dict) else ""
        if state.endswith(("FAILED", "CANCELLED", "EXPIRED")):
            raise BatchFailed(f"batch_{state.rpartition('_')[2].lower()}")
        done = state.endswith("SUCCEEDED")
        return State(done, 0, f"/v1beta/{name}")

    async def results(self, call: Call, state: State) -> Lines:
        data = await _good(call("GET", state.where, None))
        found: Lines = {}
        places = (data.get("response"), (data.get("metadata") or {}).get("output"))
        for place in (p for p in places if isinstance(p, dict)):
            inlined = (place.get("inlinedResponses") or {}).get("inlinedResponses")
            for line in inlined if isinstance(inlined, list) else []:
                key = (line.get("metadata") or {}).get("key") if isinstance(line, dict) else None
                _keep(found, key, line.get("response") if isinstance(line, dict) else None)
        return found


BATCHES: dict[str, Batches] = {
    "anthropic": AnthropicBatches(),
    "openai": OpenAIBatches(),
    "google": GoogleBatches(),
}
"""Provider -> its batch interface; a model server of your own has none and is asked case by case."""


def lines(raw: bytes) -> dict[str, Any]:
    """Lines of JSON objects, as one object with `lines`. Raises ValueError like `strict_object`."""
    return {"lines": [strict_object(line) for line in raw.splitlines() if line.strip()]}


def _name(number: int) -> str:
    return f"case-{number}"


def _keep(found: Lines, name: Any, reply: Any) -> None:
    number = name.removeprefix("case-") if isinstance(name, str) else ""
    if number.isascii() and number.isdigit() and isinstance(reply, dict):
        found[int(number)] = reply


async def _good(exchange: Awaitable[Answer]) -> dict[str, Any]:
    answer = await exchange
    if answer.error_kind is not None:
        raise BatchFailed(answer.error_kind)
    return answer.data


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise BatchFailed("malformed")
    return value
