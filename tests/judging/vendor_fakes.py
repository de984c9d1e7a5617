"""The three providers on loopback sockets, in their true wire formats, with faults on demand.

One server speaks all of them. It checks what the real ones check (key header, version header, required fields) and
answers with what `opinion` says of the case it reads between the fence lines; `faults` are used up before that.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import web

KEY = "test-key-of-nobody"
Opinion = Callable[[dict[str, Any], str], Any]
"""(case, model) -> the vote as an object, or a text to answer with as it is."""


def vote(verdict: str = "resistant", **changes: Any) -> dict[str, Any]:
    """A well-formed vote."""
    score = {"vulnerable": 4, "resistant": 0}.get(verdict, 2)
    return {
        "schema": "aispm.vote/1",
        "rationale": "Question 2 decided.",
        "rubric_item": "2",
        "evidence_span": "",
        "score": score,
        "verdict": verdict,
        "confidence": 0.9,
    } | changes


def case_in(text: str) -> dict[str, Any]:
    """What stands between the fence lines of a user message."""
    word = text.split("\n", 1)[0].removeprefix("Fence word: ")
    inner = text.split(f"BEGIN {word}\n", 1)[1].split(f"\nEND {word}", 1)[0]
    found: dict[str, Any] = json.loads(inner)
    return found


class VendorFake:
    """Anthropic, OpenAI and Google at `url`, `url`/v1 and `url`."""

    def __init__(self) -> None:
        self.opinion: Opinion = lambda case, model: vote()
        self.faults: deque[Any] = deque()
        """Statuses, (status, headers, body) or raw replies as bytes, used up one by one before any honest answer."""
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        """(path, headers, body)."""
        self.usage = {"in": 1000, "cached": 0, "written": 0, "out": 50}
        self.stop: str | None = None
        """A stop reason of the provider to answer with, in its own words."""
        self.slow_s = 0.0
        self.polls_until_done = 1
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.requests]

    def urls(self) -> dict[str, str]:
        """Base URL by provider."""
        v1 = f"{self.url}/v1"
        return {"anthropic": self.url, "openai": v1, "google": self.url, "openai_compatible": v1}

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def start() -> None:
            app = web.Application(client_max_size=64 << 20)
            app.router.add_route("*", "/{tail:.*}", self._handle)
            self._runner = web.AppRunner(app)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
            self._ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path, headers = request.path, {k.lower(): v for k, v in request.headers.items()}
        if request.content_type == "multipart/form-data":
            form = await request.post()
            body: Any = {k: v if isinstance(v, str) else v.file.read() for k, v in form.items()}
        else:
            raw = await request.read()
            body = json.loads(raw) if raw else None
        self.requests.append((path, headers, body))
        await asyncio.sleep(self.slow_s)
        if (refused := self._unauthorised(path, headers)) is not None:
            return refused
        if self.faults and (fault := self.faults.popleft()) is not None:
            return _fault(path, fault)
        for prefix, answer in (
            ("/v1/messages/batches", self._anthropic_batch),
            ("/v1/messages", self._anthropic),
            ("/v1/chat/completions", self._openai),
            ("/v1/files", self._openai_file),
            ("/v1/batches", self._openai_batch),
            ("/v1beta/models/", self._google),
            ("/v1beta/batches/", self._google_batch),
        ):
            if path.startswith(prefix):
                return answer(path, body)
        return web.json_response({"error": {"message": "no such path"}}, status=404)

    def _unauthorised(self, path: str, headers: dict[str, str]) -> web.Response | None:
        if path.startswith("/v1/messages"):
            if headers.get("x-api-key") != KEY and headers.get("authorization") != f"Bearer {KEY}":
                return web.json_response(_anthropic_error("authentication_error", "invalid x-api-key"), status=401)
            if headers.get("anthropic-version") != "2026-10-21":
                return web.json_response(_anthropic_error("invalid_request_error", "anthropic-version"), status=400)
        elif path.startswith("/v1beta/"):
            if headers.get("x-goog-api-key") != KEY:
                error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
                return web.json_response({"error": error}, status=400)
        elif headers.get("authorization") != f"Bearer {KEY}":
            error = {
                "message": "Incorrect API key provided",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            return web.json_response({"error": error}, status=401)
        return None

    def _said(self, user: str, model: str) -> str:
        said = self.opinion(case_in(user), model)
        return said if isinstance(said, str) else json.dumps(said)

    # -- Anthropic --------------------------------------------------------------------------------------------------

    def _anthropic(self, path: str, body: Any) -> web.Response:
        return web.json_response(self._message(body))

    def _message(self, body: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(body["max_tokens"], int)
        assert "temperature" not in body  # a 400 in this version
        said = self._said(body["messages"][0]["content"], body["model"])
        block: dict[str, Any] = {"type": "text", "text": said}
        forced = "tools" in body
        if forced:
            assert body["tool_choice"]["name"] == body["tools"][0]["name"]
            try:
                block = {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": body["tools"][0]["name"],
                    "input": json.loads(said),
                }
            except ValueError:
                forced = False
        plain = self.usage["in"] - self.usage["cached"] - self.usage["written"]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [] if self.stop == "refusal" else [block],
            "stop_reason": self.stop or ("tool_use" if forced else "end_turn"),
            "stop_sequence": None,
            "usage": {
                "input_tokens": plain,
                "cache_creation_input_tokens": self.usage["written"],
                "cache_read_input_tokens": self.usage["cached"],
                "output_tokens": self.usage["out"],
            },
        }

    def _anthropic_batch(self, path: str, body: Any) -> web.StreamResponse:
        if body is not None:
            name = f"msgbatch_{len(self.batches) + 1}"
            self.batches[name] = {"requests": body["requests"], "polls": 0}
        else:
            name = path.split("/")[4]
        batch = self.batches[name]
        if path.endswith("/results"):
            lines = [
                {"custom_id": r["custom_id"], "result": {"type": "succeeded", "message": self._message(r["params"])}}
                for r in reversed(batch["requests"])
            ]
            return web.Response(text="\n".join(json.dumps(line) for line in lines), content_type="application/x-jsonl")
        batch["polls"] += body is None
        done = batch["polls"] >= self.polls_until_done
        count = len(batch["requests"])
        return web.json_response(
            {
                "id": name,
                "type": "message_batch",
                "processing_status": "ended" if done else "in_progress",
                "request_counts": {
                    "processing": 0 if done else count,
                    "succeeded": count if done else 0,
                    "errored": 0,
                    "canceled": 0,
                    "expired": 0,
                },
                "ended_at": "2026-11-25T10:00:00Z" if done else None,
                "created_at": "2026-11-25T09:00:00Z",
                "expires_at": "2026-11-26T09:00:00Z",
                "archived_at": None,
                "cancel_initiated_at": None,
                "results_url": f"{self.url}/v1/messages/batches/{name}/results" if done else None,
            }
        )

    # -- OpenAI -----------------------------------------------------------------------------------------------------

    def _openai(self, path: str, body: Any) -> web.Response:
        return web.json_response(self._completion(body))

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["response_format"]["json_schema"]["strict"] is True
        user = next(m["content"] for m in body["messages"] if m["role"] == "user")
        message: dict[str, Any] = {"role": "assistant", "content": self._said(user, body["model"]), "refusal": None}
        if self.stop == "refusal":
            message |= {"content": None, "refusal": "I can't help with that."}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_764_000_000,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": "stop" if self.stop in (None, "refusal") else self.stop,
                    "logprobs": None,
                }
            ],
            "usage": {
                "prompt_tokens": self.usage["in"],
                "completion_tokens": self.usage["out"],
                "total_tokens": self.usage["in"] + self.usage["out"],
                "prompt_tokens_details": {"cached_tokens": self.usage["cached"]},
            },
        }

    def _openai_file(self, path: str, body: Any) -> web.StreamResponse:
        if path.endswith("/content"):
            return web.Response(body=self.files[path.split("/")[3]], content_type="application/octet-stream")
        assert body["purpose"] == "batch"
        name = f"file-{len(self.files) + 1}"
        self.files[name] = body["file"]
        return web.json_response(
            {
                "id": name,
                "object": "file",
                "bytes": len(body["file"]),
                "created_at": 1_764_000_000,
                "filename": "batch.jsonl",
                "purpose": "batch",
                "status": "processed",
            }
        )

    def _openai_batch(self, path: str, body: Any) -> web.StreamResponse:
        if body is not None:
            assert body["endpoint"] == "/v1/chat/completions"
            assert body["completion_window"] == "24h"
            name = f"batch_{len(self.batches) + 1}"
            self.batches[name] = {"file": body["input_file_id"], "polls": 0}
        else:
            name = path.split("/")[3]
        batch = self.batches[name]
        batch["polls"] += body is None
        done = batch["polls"] >= self.polls_until_done
        if done and "output" not in batch:
            lines = [json.loads(line) for line in self.files[batch["file"]].splitlines()]
            assert all(line["method"] == "POST" and line["url"] == "/v1/chat/completions" for line in lines)
            answers = [
                {
                    "id": f"batch_req_{i}",
                    "custom_id": line["custom_id"],
                    "response": {"status_code": 200, "request_id": "r", "body": self._completion(line["body"])},
                    "error": None,
                }
                for i, line in enumerate(reversed(lines))
            ]
            batch["output"] = f"file-{len(self.files) + 1}"
            self.files[batch["output"]] = "\n".join(json.dumps(a) for a in answers).encode()
        return web.json_response(
            {
                "id": name,
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "input_file_id": batch["file"],
                "completion_window": "24h",
                "status": "completed" if done else "in_progress",
                "output_file_id": batch.get("output"),
                "error_file_id": None,
                "created_at": 1_764_000_000,
                "request_counts": {"total": 1, "completed": int(done), "failed": 0},
            }
        )

    # -- Google -----------------------------------------------------------------------------------------------------

    def _google(self, path: str, body: Any) -> web.Response:
        model, _, call = path.removeprefix("/v1beta/models/").partition(":")
        if call == "batchGenerateContent":
            name = f"batches/{len(self.batches) + 1}"
            requests = body["batch"]["inputConfig"]["requests"]["requests"]
            self.batches[name] = {"model": model, "requests": requests, "polls": 0}
            return web.json_response(self._operation(name))
        assert call == "generateContent"
        return web.json_response(self._content(body, model))

    def _content(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        assert body["generationConfig"]["responseMimeType"] == "application/json"
        usage = {
            "promptTokenCount": self.usage["in"],
            "candidatesTokenCount": self.usage["out"] - 10,
            "thoughtsTokenCount": 10,
            "cachedContentTokenCount": self.usage["cached"],
            "totalTokenCount": self.usage["in"] + self.usage["out"],
        }
        if self.stop == "refusal":
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage}
        said = self._said(body["contents"][0]["parts"][0]["text"], model)
        return {
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"text": said}]},
                    "finishReason": self.stop or "STOP",
                    "index": 0,
                }
            ],
            "usageMetadata": usage,
            "modelVersion": model,
            "responseId": "r1",
        }

    def _google_batch(self, path: str, body: Any) -> web.StreamResponse:
        name = path.removeprefix("/v1beta/")
        self.batches[name]["polls"] += 1
        return web.json_response(self._operation(name))

    def _operation(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        done = batch["polls"] >= self.polls_until_done
        metadata: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "name": name,
            "model": f"models/{batch['model']}",
            "state": "BATCH_STATE_SUCCEEDED" if done else "BATCH_STATE_PENDING",
        }
        operation: dict[str, Any] = {"name": name, "metadata": metadata}
        if done:
            if "answers" not in batch:
                batch["answers"] = [
                    {"metadata": r.get("metadata"), "response": self._content(r["request"], batch["model"])}
                    for r in batch["requests"]
                ]
            metadata["output"] = {"inlinedResponses": {"inlinedResponses": batch["answers"]}}
            operation |= {"done": True, "response": metadata["output"]}
        return operation


def _anthropic_error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _fault(path: str, fault: Any) -> web.Response:
    if isinstance(fault, bytes):
        return web.Response(body=fault, content_type="application/json")
    status, headers, body = fault if isinstance(fault, tuple) else (fault, {}, None)
    if body is None and path.startswith("/v1/messages"):
        kind = {429: "rate_limit_error", 529: "overloaded_error"}.get(status, "api_error")
        body = _anthropic_error(kind, "busy")
    elif body is None and path.startswith("/v1beta"):
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.01s"}
        body = {"error": {"code": status, "message": "busy", "status": "RESOURCE_EXHAUSTED", "details": [retry]}}
    elif body is None:
        body = {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}}
    return web.json_response(body, status=status, headers=headers)
