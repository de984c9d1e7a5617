"""The OpenAI-compatible source against a small simulator on a real socket: open, strict, broken and silent."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from tasks.discovery import SourceContext, discover, load_inventory
from tasks.records import AssetKind, Completeness, SourceResult
from tasks.settings import DiscoverySettings, Settings

KEY = "right-key"
HOSTILE = "evil'; drop table x; -- <script>\ud800".encode("utf-8", "replace").decode()


@dataclass
class Simulator:
    """An LLM service; `mode` says what is wrong with it."""

    mode: str = "strict"
    models: list[object] = field(default_factory=lambda: [{"id": "bank-1", "owned_by": "bank"}])
    requests: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if self.mode == "silent":
            await asyncio.sleep(30)
        if self.mode == "failing":
            return web.Response(status=503, text="down")
        if self.mode == "garbage":
            return web.Response(text="<html>" + "[" * 5000, content_type="text/html")
        if self.mode == "endless":
            reply = web.StreamResponse()
            await reply.prepare(request)
            for _ in range(4000):
                await reply.write(b"x" * 1024)
            return reply
        known = request.headers.get("Authorization") == f"Bearer {KEY}"
        weak = self.mode == "open"
        if not known and not weak:
            return web.json_response({"error": "no"}, status=401)
        if request.path == "/v1/models":
            return web.json_response({"data": self.models})
        if request.path in ("/docs", "/metrics", "/openapi.json"):
            return web.Response(status=200 if weak else 404)
        return await self.chat(request, weak)

    async def chat(self, request: web.Request, weak: bool) -> web.StreamResponse:
        headers = {}
        if weak:
            headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
        try:
            body = json.loads(await request.text())
        except ValueError:
            trace = 'Traceback (most recent call last):\n  File "/app/serve.py", line 3' if weak else "bad JSON"
            return web.Response(status=400, text=trace, headers=headers)
        if body.get("max_tokens", 0) > 8192 and not weak:
            return web.json_response({"error": "max_tokens is too large"}, status=400)
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": "OK"}}]}, headers=headers)


@contextmanager
def serving(simulator: Simulator) -> Iterator[str]:
    ready = threading.Event()
    port: list[int] = []
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", simulator.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.append(runner.addresses[0][1])
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{port[0]}/v1"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def read(
    tmp_path: Path, simulator: Simulator, *, active: bool = True, kind: str = "llm_endpoint", timeout: float = 5
) -> SourceResult:
    (tmp_path / "key").write_text(KEY)
    with serving(simulator) as url:
        path = tmp_path / "inventory.yaml"
        path.write_text(
            "schema: aispm.inventory/1\nassets:\n"
            f"  - {{id: a, kind: {kind}, active: {str(active).lower()}, keys: {{url: '{url}'}},"
            f" props: {{wire_format: openai_chat, model: bank-1, credential: 'file:{tmp_path}/key'}}}}\n",
            encoding="utf-8",
        )
        settings = Settings(discovery=DiscoverySettings(timeout_s=timeout))
        [result] = discover("openai_compatible", SourceContext(settings, load_inventory(path)))
    return result


def test_a_strict_service(tmp_path: Path) -> None:
    result = read(tmp_path, Simulator())
    assert (result.completeness, result.reason) == (Completeness.FULL, "")
    [endpoint] = result.observations
    props = dict(endpoint.props)
    assert props == {
        "reachable": True,
        "list_status": 200,
        "scheme": "http",
        "loopback": True,
        "models": ["bank-1"],
        "chat_status": 200,
        "chat_status_without_credential": 401,
        "chat_status_random_bearer": 401,
        "cors_allow_origin": None,
        "cors_allow_credentials": False,
        "rate_limit_headers": False,
        "error_status": 400,
        "error_leaks": [],
        "huge_max_tokens_accepted": False,
        "open_routes": [],
    }
    assert KEY not in repr(result)


def test_an_open_service(tmp_path: Path) -> None:
    props = read(tmp_path, Simulator("open")).observations[0].props
    assert props["chat_status_without_credential"] == 200
    assert props["chat_status_random_bearer"] == 200
    assert props["error_leaks"] == ["file path", "stack trace"]
    assert props["huge_max_tokens_accepted"] is True
    assert props["open_routes"] == ["/docs", "/metrics", "/openapi.json", "/v1/models"]
    assert (props["cors_allow_origin"], props["cors_allow_credentials"]) == ("*", True)


@pytest.mark.parametrize(("active", "kind"), [(False, "llm_endpoint"), (True, "agent")])
def test_without_permission_only_the_listing_is_read(tmp_path: Path, active: bool, kind: str) -> None:
    simulator = Simulator()
    read(tmp_path, simulator, active=active, kind=kind)
    assert simulator.requests == ["GET /v1/models"]


def test_undeclared_models_are_seen_by_their_kind(tmp_path: Path) -> None:
    models: list[object] = [
        {"id": "bank-1"},
        {"id": "ft:bank-1:retail", "owned_by": "bank"},
        {"id": "qwen3", "owned_by": "vllm"},
        {"id": "text-embed-3"},
        {"id": HOSTILE, "owned_by": 7},
        {"id": None},
        "nonsense",
    ]
    result = read(tmp_path, Simulator(models=models), active=False)
    endpoint, *found = result.observations
    assert {o.name: o.kind for o in found} == {
        "ft:bank-1:retail": AssetKind.FINE_TUNED_MODEL,
        "qwen3": AssetKind.SELF_HOSTED_MODEL,
        "text-embed-3": AssetKind.EMBEDDING_MODEL,
        HOSTILE: AssetKind.LLM_ENDPOINT,
    }
    assert [e.rel for e in endpoint.edges] == ["serves"] * 4


def test_a_failing_service_leaves_facts_out(tmp_path: Path) -> None:
    result = read(tmp_path, Simulator("failing"))
    assert result.completeness == Completeness.PARTIAL
    facts = result.observations[0].props
    assert facts["list_status"] == 503
    assert not {"chat_status", "chat_status_without_credential", "open_routes", "huge_max_tokens_accepted"} & set(facts)


@pytest.mark.parametrize("mode", ["garbage", "endless"])
def test_garbage_is_not_a_listing(tmp_path: Path, mode: str) -> None:
    result = read(tmp_path, Simulator(mode))
    assert result.completeness == Completeness.PARTIAL
    assert "models" not in result.observations[0].props


def test_a_silent_service_is_given_up(tmp_path: Path) -> None:
    result = read(tmp_path, Simulator("silent"), timeout=0.3)
    assert result.completeness == Completeness.ERROR
    assert result.observations == ()
    assert "time limit" in result.reason


def test_a_missing_credential_file_is_this_assets_problem_only(tmp_path: Path) -> None:
    with serving(Simulator("open")) as url:
        path = tmp_path / "inventory.yaml"
        path.write_text(
            "schema: aispm.inventory/1\nassets:\n"
            f"  - {{id: a, kind: agent, keys: {{url: '{url}'}}, props: {{wire_format: openai_chat}}}}\n"
            f"  - {{id: b, kind: llm_endpoint, keys: {{url: '{url}'}},"
            " props: {wire_format: openai_chat, credential: 'file:/nonexistent/key'}}\n"
        )
        results = discover("openai_compatible", SourceContext(Settings(), load_inventory(path)))
    assert [r.completeness for r in results] == [Completeness.FULL, Completeness.ERROR]
