"""A loopback upstream that answers as the test says, and a real gateway process in front of it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import forked
import httpx
import pytest
from aiohttp import web

from gateway.filter import RuleSet
from gateway.pattern_files import load_patterns
from gateway.policy.bundle import (
    compose_bundle,
    hash_agent_key,
    new_hash_key,
    new_keypair,
    sign_bundle,
    verify_bundle,
)
from gateway.policy.root import compose_root, sign_root
from tasks.gateway_logs import closed_segments, event_rows

ROOT = Path(__file__).resolve().parents[2]
AGENT_KEY = "agent-key-0123456789abcdef"
PROVIDER_KEY = "provider-key-fedcba9876543210"

Reply = Callable[[web.Request, Any], Any]


def completion(content: str | None = "Hello.", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "sim-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> str:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "sim-1",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(body)}\n\n"


def named_events(events: list[dict[str, Any]]) -> list[str]:
    """Server-sent events that repeat their type as their name, one piece each."""
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events]


class UpstreamSimulator:
    """Speaks OpenAI on a real socket. `reply` is a dict (JSON), a list of byte/str pieces (SSE), or a callable."""

    completion = staticmethod(completion)
    chunk = staticmethod(chunk)
    named_events = staticmethod(named_events)

    def __init__(self) -> None:
        self.reply: Any = completion()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def start() -> None:
            app = web.Application(client_max_size=64 << 20)
            app.router.add_route("*", "/{tail:.*}", self._handle)
            self._runner = web.AppRunner(app)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
            self._ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.requests.append((dict(request.headers), raw))
        self.paths.append(request.raw_path)
        reply = self.reply
        if callable(reply):
            reply = reply(request, json.loads(raw) if raw else None)
            if asyncio.iscoroutine(reply):
                reply = await reply
        if isinstance(reply, web.StreamResponse):
            return reply
        if isinstance(reply, list):
            response = web.StreamResponse(
                status=self.status, headers={"Content-Type": "text/event-stream", **self.headers}
            )
            await response.prepare(request)
            for piece in reply:
                if piece == "<cut>":
                    request.transport.close()
                    return response
                await response.write(piece.encode() if isinstance(piece, str) else piece)
                await asyncio.sleep(0)
            return response
        body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        return web.Response(status=self.status, body=body, headers={"Content-Type": "application/json", **self.headers})

    def close(self) -> None:
        async def stop() -> None:
            await self._runner.cleanup()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@dataclass
class PolicyFolder:
    """Writes a root of one key, and signed policies, into a folder."""

    folder: Path
    hash_key: str = field(default_factory=new_hash_key)
    version: int = 0

    def __post_init__(self) -> None:
        self.root_keys, self.keys = new_keypair(), new_keypair()
        self.root_version, self.epoch, self.revoked = 1, 1, []
        self._write_root()

    def _write_root(self) -> None:
        now = datetime.now(UTC)
        raw = compose_root(
            tenant="nimbus",
            version=self.root_version,
            epoch=self.epoch,
            issued=now,
            expires=now + timedelta(days=365),
            threshold=1,
            root_keys=[self.root_keys.public],
            policy_keys=[self.keys.public],
            revoked_keys=self.revoked,
        )
        name = f"root.{self.root_version}.json"
        (self.folder / name).write_bytes(raw)
        (self.folder / f"{name}.sig").write_bytes(sign_root(raw, self.root_keys.private))

    def rotate(self) -> None:
        """Revoke the policy key and begin a new epoch; `publish` then signs with a new one."""
        self.revoked = [*self.revoked, self.keys.public]
        self.keys = new_keypair()
        self.root_version, self.epoch = self.root_version + 1, self.epoch + 1
        self._write_root()

    def publish(self, **changes: Any) -> None:
        self.version += 1
        now = datetime.now(UTC)
        document: dict[str, Any] = {
            "tenant": "nimbus",
            "audience": ["gw-test"],
            "version": self.version,
            "epoch": self.epoch,
            "root_version": self.root_version,
            "issued": now,
            "expires": now + timedelta(days=1),
            "hash_key": self.hash_key,
            "agents": [
                {
                    "id": "support",
                    "key_hash": hash_agent_key(self.hash_key, AGENT_KEY),
                    "asset_id": "llm/support",
                }
            ],
            "tools": {"support": ["get_balance"]},
        }
        raw = compose_bundle(**{**document, **changes})
        (self.folder / "policy.json").write_bytes(raw)
        (self.folder / "policy.json.sig").write_bytes(sign_bundle(raw, self.keys.private))


def chat(text: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"model": "sim-1", "messages": [{"role": "user", "content": text}], **more}


class GatewayProcess:
    """`python -m gateway` as a child process."""

    agent_key = AGENT_KEY
    provider_key = PROVIDER_KEY
    chat = staticmethod(chat)

    def __init__(self, folder: Path, upstream: str, **limits: float) -> None:
        self.folder, self.spool = folder, folder / "spool"
        (folder / "provider.key").write_text(PROVIDER_KEY + "\n")
        lines = "".join(f"{k} = {v}\n" for k, v in limits.items())
        (folder / "gateway.toml").write_text(
            f"""gateway_id = "gw-test"
[listen]
port = 0
[policy]
file = "policy.json"
root = "root.1.json"
[spool]
folder = "spool"
roll_seconds = 3600
[limits]
{lines}
[routes.default]
base_url = "{upstream}"
credential = "file:provider.key"
provider = "simulator"
known_models = ["sim-1"]
"""
        )

    def start(self) -> GatewayProcess:
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        self.stderr = (self.folder / "stderr.txt").open("ab")
        self.process = self.spawn(["-m", "gateway", "--config", str(self.folder / "gateway.toml")])

    def spawn(self, arguments: list[str]) -> Any:
        """A process with a pipe as its `stdout`."""
        command = [sys.executable, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.stderr, cwd=ROOT)

    def wait_ready(self) -> GatewayProcess:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError((self.folder / "stderr.txt").read_text())
        self.ready = json.loads(line)
        self.url = self.ready["url"]
        return self

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self, number: int | None = None) -> int:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):  # its end may be known to who forked it before it is told to us
                self.signal(number or signal.SIGTERM)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.stderr.close()
        return code

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def rows(self) -> list[dict[str, Any]]:
        """All events so far: asks the running gateway to roll, then reads."""
        if self.process.poll() is None:
            self.signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while list(self.spool.glob("*.open")) and time.monotonic() < deadline:
                time.sleep(0.01)
        return [row for segment in closed_segments(self.spool) for row in event_rows(segment)]

    def post(self, body: Any, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {AGENT_KEY}", "Content-Type": "application/json"}
        headers.update(options.pop("headers", {}))
        path = options.pop("path", "/v1/chat/completions")
        return httpx.request("POST", self.url + path, content=content, headers=headers, timeout=30, **options)


@pytest.fixture(scope="session")
def carriers() -> dict[str, Any]:
    """What clients send and providers answer, by wire format; see tests/bypass/carriers.py."""
    spec = importlib.util.spec_from_file_location("carriers", ROOT / "tests" / "bypass" / "carriers.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["carriers"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {carrier.name: carrier for carrier in module.CARRIERS}


def _forked(self: GatewayProcess, arguments: list[str]) -> Any:
    read, write = os.pipe()
    process = forked.GATEWAYS.start(arguments, ROOT, os.environ, write, self.stderr.fileno())
    os.close(write)
    process.stdout = os.fdopen(read, "rb")
    return process


@pytest.fixture(scope="session", autouse=True)
def _forked_gateways() -> Iterator[None]:
    """The tests' gateways are forked with their patterns compiled; benchmarks, which use this module too, start whole
    ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GatewayProcess, "spawn", _forked)
        yield


@pytest.fixture
def conftest_module() -> Any:
    """This module, for what builds its own processes."""
    return sys.modules[__name__]


@pytest.fixture
def policy(tmp_path: Path) -> PolicyFolder:
    folder = PolicyFolder(tmp_path)
    folder.publish()
    return folder


@pytest.fixture
def gateway_factory(tmp_path: Path, simulator: UpstreamSimulator, policy: PolicyFolder) -> Iterator[Any]:
    """Makes gateways that are not started yet, and stops what is left running."""
    made: list[GatewayProcess] = []

    def make(upstream: str | None = None, **limits: float) -> GatewayProcess:
        made.append(GatewayProcess(tmp_path, upstream or simulator.url, **limits))
        return made[-1]

    yield make
    for process in made:
        if hasattr(process, "process") and process.process.poll() is None:
            process.stop()


class SharedGateway(GatewayProcess):
    """One running process for many tests; each sees only the events since it began."""

    first = 0

    def begin(self) -> None:
        self.first = len(super().rows())

    def rows(self) -> list[dict[str, Any]]:
        return super().rows()[self.first :]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SharedGateway, UpstreamSimulator]]:
    folder, upstream = tmp_path_factory.mktemp("gateway"), UpstreamSimulator()
    PolicyFolder(folder).publish()
    process = SharedGateway(folder, upstream.url)
    process.start()
    yield process, upstream
    process.stop()
    upstream.close()


@pytest.fixture
def gateway(shared: tuple[SharedGateway, UpstreamSimulator], simulator: UpstreamSimulator) -> SharedGateway:
    shared[0].begin()
    return shared[0]


@pytest.fixture
def simulator(shared: tuple[SharedGateway, UpstreamSimulator]) -> UpstreamSimulator:
    upstream = shared[1]
    upstream.status, upstream.headers, upstream.reply, upstream.requests = 200, {}, completion(), []
    upstream.paths = []
    return upstream


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Makes running gateways whose route speaks another API: `(gateway, upstream)`, like `shared`.

    `policy` gets the folder that writes it and returns what is different from the usual one.
    """
    made: list[tuple[SharedGateway, UpstreamSimulator]] = []

    def make(
        api: str, *changes: tuple[str, str], policy: Callable[[PolicyFolder], dict[str, Any]] = lambda _: {}
    ) -> tuple[SharedGateway, UpstreamSimulator]:
        folder, upstream = tmp_path_factory.mktemp(api), UpstreamSimulator()
        written = PolicyFolder(folder)
        written.publish(**policy(written))
        process = SharedGateway(folder, upstream.url)
        settings = folder / "gateway.toml"
        text = settings.read_text().replace("[routes.default]", f'[routes.default]\napi = "{api}"')
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        settings.write_text(text)
        made.append((process, upstream))
        process.start()
        return made[-1]

    yield make
    for process, upstream in made:
        if hasattr(process, "process"):
            process.stop()
        upstream.close()


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    """The patterns under the policy that the gateways of these tests have."""
    policy = PolicyFolder(tmp_path_factory.mktemp("rules"))
    policy.publish()
    raw, sig = ((policy.folder / name).read_bytes() for name in ("policy.json", "policy.json.sig"))
    return RuleSet.build(verify_bundle(raw, sig, [policy.keys.public]), load_patterns())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-made certificate for 127.0.0.1, `tls.pem`, and its key, `tls.key`."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", "tls.key", "-out", "tls.pem", "-days", "2", "-subj", "/CN=gateway"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server: the machine's, or the one in this environment."""
    beside = Path(sys.executable).parent / "redis-server"
    program = shutil.which("redis-server") or shutil.which("valkey-server") or shutil.which(beside)
    if program is None:
        pytest.skip("no redis-server is installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(20)
