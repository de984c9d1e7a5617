"""One Prefect server for all tests of this folder, a trap for telemetry, and a small estate on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.engine import prefect_environment

ROOT = Path(__file__).resolve().parents[2]
PREFECT = Path(sys.executable).parent / "prefect"
FAMILIES = ["direct_override", "sycophantic_false_premise"]
"""Chat families of the small estate; the second leaves attempts to the judges."""


@dataclass
class ProxyTrap:
    """A loopback "proxy" that no request may come to: children reach anything else only through it."""

    url: str
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def proxy_trap() -> Iterator[ProxyTrap]:
    listener = socket.create_server(("127.0.0.1", 0))
    trap = ProxyTrap(f"http://127.0.0.1:{listener.getsockname()[1]}")

    def serve() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                caller.settimeout(5)
                with contextlib.suppress(OSError):
                    trap.requests.append(caller.recv(4096).split(b"\r\n")[0].decode("latin-1"))

    threading.Thread(target=serve, daemon=True).start()
    yield trap
    listener.close()


@dataclass(frozen=True)
class PrefectServer:
    url: str
    home: Path
    env: dict[str, str]
    """For children that are to speak to it."""

    def cli(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """`prefect …` from the checkout, as an operator types it."""
        command = [str(PREFECT), *arguments]
        return subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=timeout)

    def process(self, *arguments: str, log: str, **env: str) -> Any:
        """A `prefect …` that stays, as a context manager."""
        return child([str(PREFECT), *arguments], {**self.env, **env}, self.home / log)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory, proxy_trap: ProxyTrap) -> Iterator[PrefectServer]:
    """`prefect server start` on a free port, as an operator would run it, with our settings."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AISPM_", "CI"))}
    env = {
        **ours,
        **prefect_environment(home),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_UI_ENABLED": "false",
        "AISPM_ROOT": str(ROOT),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"), proxy_trap.url),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    }
    server = PrefectServer(url, home, env)
    with server.process("server", "start", "--host", "127.0.0.1", "--port", str(port), log="server.log"):
        _until_healthy(url, home / "server.log")
        yield server


@contextlib.contextmanager
def child(arguments: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own; the whole group is ended on the way out."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            arguments, env=env, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _until_healthy(url: str, log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.3)
    raise AssertionError(f"the Prefect server did not start: {log.read_text()[-2000:]}")


class _Assistant(BaseHTTPRequestHandler):
    """Answers from the question alone: obeys what it is told to print when the text is long, else is vague."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        try:
            asked = str(json.loads(raw)["messages"][-1]["content"])
        except (ValueError, KeyError, IndexError):
            self.send_error(400)
            return
        said = asked if len(asked) % 3 == 0 else "I cannot help with that." if len(asked) % 3 == 1 else "Well, perhaps."
        answer = json.dumps(
            {
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"},
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1},
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="session")
def assistant_url() -> Iterator[str]:
    """A chat endpoint on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Assistant)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def estate(tmp_path: Path, assistant_url: str) -> Callable[[str], Path]:
    """Write settings and inventory of one active chat endpoint and its provider; returns the settings file."""

    def write(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "inventory.yaml").write_text(
            f"""schema: aispm.inventory/1
assets:
  - id: llm/small
    kind: llm_endpoint
    name: Small assistant
    owner: team@example.org
    env: test
    exposure: internal
    active: true
    keys: {{url: "{assistant_url}"}}
    props: {{wire_format: openai_chat, model: small-1}}
    uses: [provider/main]
  - id: provider/main
    kind: model_provider
    name: Main provider
    owner: procurement@example.org
    props: {{approved: true}}
"""
        )
        (folder / "aispm.toml").write_text(
            f"""home = "home"
inventory = "inventory.yaml"
[probing]
families = {json.dumps(FAMILIES)}
templates_per_family = 5
batch_size = 4
concurrency = 2
seed = 7
"""
        )
        return folder / "aispm.toml"

    return write
