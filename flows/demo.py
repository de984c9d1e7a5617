"""The nightly flow over the live demo estate: estate, gateway with real traffic, then the `posture` of everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from flows.child_process import die_with_parent
from flows.execute import execute, prepared
from flows.outcome import Outcome
from gateway.policy.bundle import hash_agent_key
from tasks.errors import AispmError, IncompleteError
from tasks.policy.folder import Folder
from tasks.policy.publications import init_folder, publish, read_draft, write_draft
from tasks.runs import home_lock
from tasks.settings import CONTENT_ROOT, GatewaySettings, OrchestratorSettings, load_settings

LEFTOVERS_SECONDS = 30
"""How long the children of a killed demo may take to end."""

PROMPTS = (
    ("allow", "What are your opening hours on Friday?"),
    ("allow", "How do I block a lost card?"),
    ("allow", "Which documents do I need for a mortgage?"),
    ("flag", "Please write to me at anna.keller@example.org about my savings plan."),
    ("redact", "My IBAN is DE89 3704 0044 0532 0130 00, is it still active?"),
    ("block", "Our key is " + "AKIA" + "IOSFODNN7EXAMPLQ" + ", why does the upload fail?"),
)
"""What the demo's mobile app asks through the gateway, with the decision to expect. Values are test values."""


def run_demo(folder: Path, *, hardened: bool, progress_mode: str) -> Outcome:
    """Start the estate and the gateway in `folder`, send traffic, run the nightly flow, stop everything.

    Raises IncompleteError, before anything is started, when another demo runs in `folder`.
    """
    with _alone(folder) as lock:
        return _run_alone(folder, lock, hardened=hardened, progress_mode=progress_mode)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Two demos in one folder would take each other's ports, keys and inventory; yields the lock's descriptor."""
    until = time.monotonic() + LEFTOVERS_SECONDS
    with contextlib.ExitStack() as held:
        while True:
            try:
                lock = held.enter_context(home_lock(folder / "demo.lock"))
                break
            except IncompleteError:
                if _holder_lives(folder / "demo.lock") or time.monotonic() > until:
                    raise
                time.sleep(0.2)  # a killed demo's children are on their way out
        yield lock


def _holder_lives(lock: Path) -> bool:
    try:
        os.kill(int(lock.read_text(encoding="utf-8")), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # another user's
    return True


def _run_alone(folder: Path, lock: int, *, hardened: bool, progress_mode: str) -> Outcome:
    gateway_url = f"http://127.0.0.1:{_gateway_port(folder)}"
    # Side by side: the gate's child and the orchestrator start while the estate does; our own imports wait for both.
    with (
        prepared(folder / "aispm", OrchestratorSettings().engine) as ready,
        _estate(folder, gateway_url, lock, hardened=hardened) as announced,
        _gateway(folder, announced, gateway_url, lock) as (spool, batch_key),
    ):
        os.environ.update({name: os.environ.get(name, value) for name, value in announced["env"].items()})
        app_key = (folder / "keys" / "gateway.key").read_text(encoding="utf-8").strip()
        asyncio.run(_traffic(gateway_url, app_key, batch_key))
        settings = load_settings(Path(announced["settings"]))
        settings = replace(settings, gateway=GatewaySettings(spool=str(spool), url=gateway_url))
        return execute("nightly", settings, ready, progress_mode=progress_mode)


@contextlib.contextmanager
def _child(
    arguments: Sequence[str], name: str, log: Path, lock: int
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A child that prints one JSON line when it is ready; ended with SIGTERM, its errors kept in `log`.

    It shares the demo's lock: after a kill the next demo waits until this child has left its ports too, since a service
    on another port would count as another asset.
    """
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=CONTENT_ROOT,
            preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C is for us alone: we end it when we are done with it
            pass_fds=[lock],
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                process.wait(timeout=10)
                raise AispmError(f"the {name} did not start: {log.read_text(encoding='utf-8')[-500:].strip()}")
            yield process, json.loads(line)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@contextlib.contextmanager
def _estate(folder: Path, gateway_url: str, lock: int, *, hardened: bool) -> Iterator[dict[str, Any]]:
    arguments = ["-m", "tasks.estate", "--home", str(folder.resolve()), "--gateway-url", gateway_url]
    arguments += ["--hardened"] if hardened else []
    with _child(arguments, "estate", folder / "estate.log", lock) as (_, announced):
        yield announced


@contextlib.contextmanager
def _gateway(folder: Path, announced: dict[str, Any], url: str, lock: int) -> Iterator[tuple[Path, str]]:
    """`python -m gateway` in front of the support assistant, under a policy signed here; yields its spool and the key
    of an agent whose budget is spent."""
    home = (folder / "gateway").resolve()
    home.mkdir(parents=True, exist_ok=True)
    batch_key = secrets.token_urlsafe(24)
    _publish_policy(home, folder, batch_key)
    config = home / "gateway.toml"
    config.write_text(
        f"""gateway_id = "nimbus-edge-1"

[listen]
port = {url.rsplit(":", 1)[1]}

[policy]
file = "policy/published/policy.json"
root = "policy/published/root.1.json"

[spool]
folder = "spool"
roll_seconds = 2

[routes.default]
base_url = {json.dumps(announced["services"]["assistant"])}
credential = {json.dumps(f"file:{folder.resolve() / 'keys' / 'assistant.key'}")}
asset_id = "llm/support-guarded"
provider = "nimbus"
known_models = ["nimbus-support-1"]
""",
        encoding="utf-8",
    )
    with _child(["-m", "gateway", "--config", str(config)], "gateway", home / "gateway.log", lock) as (process, _):
        yield home / "spool", batch_key
        process.send_signal(signal.SIGTERM)


def _publish_policy(home: Path, folder: Path, batch_key: str) -> None:
    """A fresh policy version for this start; keys and the tenant's hash key are made once."""
    signing, now = Folder(home / "policy"), dt.datetime.now(dt.UTC)
    if not signing.draft.exists():
        init_folder(signing, tenant="nimbus-bank", audience=["nimbus-edge-1"], now=now)
    draft = read_draft(signing)
    app_key = (folder / "keys" / "gateway.key").read_text(encoding="utf-8").strip()
    keys = {"mobile-app": app_key, "night-batch": batch_key}
    draft["agents"] = [{"id": name, "key_hash": hash_agent_key(draft["hash_key"], key)} for name, key in keys.items()]
    draft["tools"] = {"mobile-app": ["get_balance", "list_accounts"]}
    draft["rules"] = {"iban": {"request": "redact", "response": "redact"}}
    draft["budgets"] = [_budget("mobile-app", 10_000_000), _budget("night-batch", 1)]
    draft["rates"] = {"*": 6_000}
    price = {"input": 150_000, "output": 600_000, "cached": 75_000}
    draft["prices"] = {"default_max_tokens": 256, "unknown_price": price, "models": {"nimbus-support-1": price}}
    write_draft(signing, draft)
    publish(signing, key=None, now=now, days=7)


def _budget(agent: str, micro_usd: int) -> dict[str, Any]:
    return {
        "id": f"{agent}-today",
        "upstream_domain": "*",
        "agent": agent,
        "period": "day",
        "zone": "UTC",
        "limit_micro_usd": micro_usd,
        "action": "block",
    }


async def _traffic(url: str, app_key: str, batch_key: str) -> None:
    """The mobile app's questions, one with a tool that the policy does not list, and one that nobody has paid for."""
    headers = {"Authorization": f"Bearer {app_key}"}
    bodies: list[dict[str, Any]] = [
        {"model": "nimbus-support-1", "messages": [{"role": "user", "content": text}], "stream": n % 2 == 1}
        for n, (_, text) in enumerate(PROMPTS)
    ]
    wire = {"type": "function", "function": {"name": "wire_money", "parameters": {"type": "object"}}}
    bodies.append({**bodies[0], "tools": [wire]})
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for body in bodies))
        headers = {"Authorization": f"Bearer {batch_key}"}
        await client.post("/v1/chat/completions", json=bodies[0], headers=headers)
    await asyncio.sleep(2.5)  # the gateway closes its segment every two seconds


def _gateway_port(folder: Path) -> int:
    """The port of the last demo in this folder if it is free, else a new one: stable ports mean stable asset ids."""
    record = folder / "gateway-port"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError, ValueError):
            probe.bind(("127.0.0.1", int(record.read_text())))
            return int(probe.getsockname()[1])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    record.write_text(str(port))
    return port
