"""Starts and stops the estate: which service listens where, with which keys, and what its inventory says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from aiohttp import web

from tasks.errors import AispmError
from tasks.estate import agent, assistant, inventory, mcp_server
from tasks.estate.places import KEYS, SERVICES, places
from tasks.estate.variants import Variant, all_on
from tasks.settings import CONTENT_ROOT

START_SECONDS = 180
"""For all services together; a few seconds on a quiet machine."""


class EstateError(AispmError):
    """The estate could not be started."""


class Estate:
    """The running estate, in a thread of its own: `with Estate(home, variant) as e:`, or `async with`."""

    def __init__(
        self,
        home: Path,
        variant: Variant | None = None,
        services: Iterable[str] = SERVICES,
        gateway_url: str | None = None,
        denied: Iterable[str] = (),
    ) -> None:
        """`denied` names AWS operations, such as `bedrock:ListGuardrails`, that the account refuses."""
        self.variant = all_on() if variant is None else variant
        self.services = tuple(s for s in SERVICES if s in set(services))
        self.places = places(home)
        self.state = mcp_server.starting_state()
        """The bank's books; tests read them to see side effects."""
        self.gateway_url = gateway_url
        self.denied = tuple(denied)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    @property
    def home(self) -> Path:
        return self.places.home

    @property
    def urls(self) -> dict[str, str]:
        """Addresses by service; the paths a client needs are included."""
        p = self.places
        known = {
            "assistant": p.url("assistant", "/v1"),
            "agent": p.url("agent", "/v1"),
            "mailbox": p.url("agent", "/contact"),
            "mcp": p.url("mcp", "/mcp"),
            "rag": p.url("rag", "/v1"),
            "aws": p.url("aws"),
        }
        return {name: url for name, url in known.items() if (("agent" if name == "mailbox" else name) in self.services)}

    def start(self) -> Estate:
        """Start every service, write inventory and settings. Raises EstateError when one does not come up."""
        self._thread = threading.Thread(target=self._run, name="estate", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            self.stop()
            raise EstateError(f"the estate was not ready within {START_SECONDS} s; see {self.home}")
        if self._failure:
            self.stop()
            raise EstateError(f"the estate could not start: {self._failure}") from self._failure
        inventory.write(self.places, self.variant, self.gateway_url)
        return self

    def stop(self) -> None:
        """Stop every service and wait until all have gone."""
        if self._loop and self._stop and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread:
            self._thread.join(START_SECONDS)
            self._thread = None

    def __enter__(self) -> Estate:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Estate:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def announcement(self) -> dict[str, Any]:
        """What the command prints when everything is ready."""
        return {
            "schema": "aispm.estate/1",
            "inventory": str(self.home / "inventory.yaml"),
            "settings": str(self.home / "aispm.toml"),
            "services": self.urls,
            "credentials": {name: self.places.credential(name) for name in KEYS},
            "switches": sorted(self.variant),
            "env": inventory.AWS_ENVIRONMENT,
        }

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as e:  # noqa: BLE001 - handed to the thread that called start()
            self._failure = e
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            children = [asyncio.create_task(self._child(name)) for name in ("rag", "aws") if name in self.services]
            for child in children:
                stack.push_async_callback(_end, child)
            if "assistant" in self.services:
                keys = {self.places.keys["assistant"]: "support-platform"}
                await stack.enter_async_context(
                    _aiohttp(assistant.build(self.variant, keys), self.places.ports["assistant"])
                )
            if "mcp" in self.services or "agent" in self.services:
                port, token = self.places.ports["mcp"], self.places.keys["mcp"]
                await stack.enter_async_context(_asgi(mcp_server.build(self.variant, self.state, token, port), port))
            if "agent" in self.services:
                keys = {self.places.keys["agent"]: "teller-app"}
                app = agent.build(
                    self.variant, keys, self.state, self.places.url("mcp", "/mcp"), self.places.keys["mcp"]
                )
                await stack.enter_async_context(_aiohttp(app, self.places.ports["agent"]))
            await asyncio.gather(*children)
            self._ready.set()
            await self._stop.wait()

    async def _child(self, name: str) -> asyncio.subprocess.Process:
        """Start a heavy service in a process of its own and wait until it says that it is ready."""
        tenants = {self.places.keys[f"rag_{tenant}"]: tenant for tenant in ("retail", "private_banking", "corporate")}
        settings = {
            "port": self.places.ports[name],
            "moto_port": self.places.ports["moto"],
            "home": str(self.home),
            "switches": sorted(self.variant),
            "keys": tenants if name == "rag" else {},
            "denied": self.denied,
        }
        environment = os.environ | {"RUST_LOG": "error", "MOTO_DOCKER_STOP": "0"}
        with (self.home / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tasks.estate.child", name,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                cwd=CONTENT_ROOT, env=environment,
            )  # fmt: skip
        if process.stdin is None or process.stdout is None:
            raise EstateError(f"the service `{name}` has no pipes")
        try:
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        except (ConnectionError, TimeoutError):
            line = b""
        except asyncio.CancelledError:
            await _close(process)
            raise
        if line.strip() != b"ready":
            await _close(process)
            raise EstateError(f"the service `{name}` did not start; see {self.home / (name + '.log')}")
        return process


async def _end(child: asyncio.Task[asyncio.subprocess.Process]) -> None:
    """Stop a child, whether it is still starting or serves already."""
    child.cancel()
    (result,) = await asyncio.gather(child, return_exceptions=True)
    if isinstance(result, asyncio.subprocess.Process):
        await _close(result)


async def _close(process: asyncio.subprocess.Process) -> None:
    if process.stdin:
        process.stdin.close()
    for give_up in (process.terminate, process.kill, None):
        try:
            await asyncio.wait_for(process.wait(), 3)
            return
        except TimeoutError:
            if give_up:
                with contextlib.suppress(ProcessLookupError):
                    give_up()


@contextlib.asynccontextmanager
async def _aiohttp(app: web.Application, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its own signal handlers: this process has one owner already."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def _asgi(app: Any, port: int) -> AsyncIterator[None]:
    server = _Uvicorn(
        uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="critical", access_log=False, timeout_graceful_shutdown=2
        )
    )
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                raise EstateError(f"port {port} could not be served") from task.exception()
            await asyncio.sleep(0.02)
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
