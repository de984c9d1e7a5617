"""Other gateways and the load generator for `make bench-gateway`, each fetched into a folder of its own.

nginx (the physical limit of a proxy), Portkey's open gateway (npm) and the LiteLLM proxy (PyPI), and wrk. What cannot
be fetched is named with its reason; the figures beside it are then missing, never guessed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PORTKEY = "1.15.2"
LITELLM = "1.106.2"
AGENT, PROVIDER = "bench-agent-key-0123456789", "bench-provider-key"
COMPLETION = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"sim-1","choices":[{"index":0,"message":'
    '{"role":"assistant","content":"I cannot help with that."},"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":200,"completion_tokens":5,"total_tokens":205}}'
)


class MissingError(Exception):
    """A peer that is not to be had here, and why."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Peers:
    """Fetches into `folder` once; later runs find it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)

    def _run(self, command: Sequence[str | Path], cwd: Path) -> None:
        try:
            subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=300)
        except FileNotFoundError:
            raise MissingError(f"{command[0]} is not installed") from None
        except subprocess.CalledProcessError as e:
            last = (e.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
            raise MissingError(f"{command[0]}: {' '.join(last) or e.returncode}") from None
        except subprocess.TimeoutExpired:
            raise MissingError(f"{command[0]}: no answer in 300 s") from None

    def debian(self, program: str, *packages: str) -> tuple[Path, dict[str, str]]:
        """A program of Debian's, unpacked without installing it; its path and environment."""
        if found := shutil.which(program):
            return Path(found), dict(os.environ)
        root = self.folder / "debian"
        libraries = root / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
        for place in (root / "usr/sbin" / program, root / "usr/bin" / program):
            if place.exists():
                return place, {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        self._run(["apt-get", "download", *packages], self.folder)
        for package in sorted(self.folder.glob("*.deb")):
            self._run(["dpkg", "-x", package, root], self.folder)
            package.unlink()
        if not any((root / f / program).exists() for f in ("usr/sbin", "usr/bin")):
            raise MissingError(f"the Debian packages hold no {program}")
        return self.debian(program)

    def nginx(self) -> tuple[Path, dict[str, str]]:
        return self.debian("nginx", "nginx", "nginx-common")

    def wrk(self) -> tuple[Path, dict[str, str]]:
        return self.debian("wrk", "wrk", "libluajit-5.1-2")

    def portkey(self) -> Path:
        script = self.folder / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
        if not script.exists():
            home = self.folder / "portkey"
            home.mkdir(exist_ok=True)
            self._run(["npm", "install", "--prefix", home, "--no-audit", "--no-fund", "--ignore-scripts",
                       f"@portkey-ai/gateway@{PORTKEY}"], home)  # fmt: skip
        return script

    def litellm(self) -> Path:
        home = self.folder / "litellm"
        program = home / "bin" / "litellm"
        if not program.exists():
            self._run([sys.executable, "-m", "venv", home], self.folder)
            self._run([Path(sys.executable).parent / "uv", "pip", "install", "-q", "--python", home / "bin/python",
                       f"litellm[proxy]=={LITELLM}"], self.folder)  # fmt: skip
        return program


@contextmanager
def running(command: Sequence[str | Path], core: int, port: int, env: dict[str, str], cwd: Path) -> Iterator[int]:
    """A server pinned to one core, ready when its port answers; its process id."""
    log = (cwd / f"{Path(command[0]).name}-{port}.log").open("wb")
    child = subprocess.Popen(["taskset", "-c", str(core), *command], env=env, cwd=cwd, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 120
        while True:
            if child.poll() is not None or time.monotonic() > until:
                raise MissingError(f"{Path(command[0]).name} did not start; see {log.name}")
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        log.close()


@contextmanager
def nginx(peers: Peers, core: int, home: Path, location: str, name: str) -> Iterator[int]:
    """nginx with one worker and one `location`; the port."""
    program, env = peers.nginx()
    port = free_port()
    folder = home / f"{name}-{port}"
    folder.mkdir()
    temporary = "".join(f"{n}_temp_path {folder}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; {temporary}\n"
        f"{location.replace('PORT', str(port))} }}\n"
    )
    with running([program, "-p", folder, "-c", folder / "nginx.conf"], core, port, env, folder):
        yield port


@contextmanager
def upstream(peers: Peers, core: int, home: Path) -> Iterator[int]:
    """A model endpoint that costs next to nothing: nginx with one fixed answer."""
    answer = f"default_type application/json; return 200 '{COMPLETION}';"
    with nginx(peers, core, home, f"server {{ listen 127.0.0.1:PORT; location / {{ {answer} }} }}", "upstream") as port:
        yield port


@contextmanager
def proxy_pass(peers: Peers, core: int, home: Path, to: int) -> Iterator[int]:
    """nginx as a bare proxy: what forwarding costs when nobody looks inside."""
    location = (
        f"upstream up {{ server 127.0.0.1:{to}; keepalive 64; }}\n"
        "server { listen 127.0.0.1:PORT; location / { proxy_pass http://up; proxy_http_version 1.1;"
        ' proxy_set_header Connection ""; } }'
    )
    with nginx(peers, core, home, location, "proxy") as port:
        yield port


@contextmanager
def portkey(peers: Peers, core: int, home: Path, to: int) -> Iterator[tuple[int, int, dict[str, str]]]:
    """(port, process id, headers)."""
    script, port = peers.portkey(), free_port()
    headers = {
        "Authorization": f"Bearer {PROVIDER}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{to}/v1",
    }
    command = ["node", script, f"--port={port}", "--headless"]
    with running(command, core, port, dict(os.environ), home) as pid:
        yield port, pid, headers


@contextmanager
def litellm(peers: Peers, core: int, home: Path, to: int) -> Iterator[tuple[int, int, dict[str, str]]]:
    """(port, process id, headers)."""
    program, port = peers.litellm(), free_port()
    model = {"model": "openai/sim-1", "api_base": f"http://127.0.0.1:{to}/v1", "api_key": PROVIDER}
    config = home / "litellm.json"  # JSON is YAML
    config.write_text(json.dumps({
        "model_list": [{"model_name": "sim-1", "litellm_params": model}],
        "general_settings": {"master_key": f"sk-{AGENT}"},
        "litellm_settings": {"telemetry": False},
    }))  # fmt: skip
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [program, "--config", config, "--port", str(port), "--host", "127.0.0.1"]
    with running(command, core, port, env, home) as pid:
        yield port, pid, {"Authorization": f"Bearer sk-{AGENT}"}


def load(
    peers: Peers, core: int, home: Path, url: str, headers: dict[str, str], body: bytes, connections: int, seconds: int
) -> dict[str, float]:
    """Requests per second and latency in microseconds, by wrk on one core. Raises MissingError on any wrong answer."""
    program, env = peers.wrk()
    script = home / "load.lua"
    lines = [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()]
    script.write_text("\n".join([
        'wrk.method = "POST"', f"wrk.body = {json.dumps(body.decode())}",
        'wrk.headers["Content-Type"] = "application/json"', *lines,
        "function done(summary, latency, requests)",
        "  local e = summary.errors",
        '  local form = "\\nJSON{\\"requests\\":%d,\\"us\\":%d,\\"errors\\":%d,\\"p50\\":%d,\\"p99\\":%d}\\n"',
        '  io.write(string.format(form,',
        "    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,",
        "    latency:percentile(50), latency:percentile(99)))",
        "end",
    ]))  # fmt: skip
    command = ["taskset", "-c", str(core), str(program), "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["--timeout", "30s", "-s", str(script), url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds + 60)
    found = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("JSON{")]
    if not found:
        raise MissingError(f"wrk: {done.stderr.strip()[-200:]}")
    if found[0]["errors"] or not found[0]["requests"]:
        raise MissingError(f"{found[0]['errors']} of {found[0]['requests']} answers were not 2xx")
    return {**found[0], "rps": found[0]["requests"] * 1e6 / found[0]["us"]}
