"""Services of the estate on real sockets, started and stopped around a test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tasks.estate.estate import Estate
from tasks.estate.variants import Variant


@contextlib.contextmanager
def serving(make: Callable[[], web.Application]) -> Iterator[str]:
    """The address of a web application that runs in a thread."""
    loop = asyncio.new_event_loop()
    started: list[Any] = []

    async def start() -> None:
        runner = web.AppRunner(make(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        started.extend([runner, runner.addresses[0][1]])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield f"http://127.0.0.1:{started[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(started[0].cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    return serving


@pytest.fixture
def light(tmp_path: Path) -> Iterator[Callable[..., Estate]]:
    """Start an estate without its heavy services: `light(variant)`."""
    running: list[Estate] = []

    def start(variant: Variant, home: Path | None = None) -> Estate:
        estate = Estate(home or tmp_path, variant, services=("assistant", "mcp", "agent"))
        running.append(estate)
        return estate.start()

    yield start
    for estate in running:
        estate.stop()
