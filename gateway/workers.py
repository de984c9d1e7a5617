"""Several worker processes on one port: started, watched, restarted and stopped together.

The parent serves nothing. It holds the port, so that `port = 0` means one port for all, and starts each worker as a
fresh process; the kernel deals out connections. A worker ends when its standard input closes, so that none outlives
a parent that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("gateway")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a dead worker is started again: doubled at each death that follows soon."""
STEADY_SECONDS = 30.0
"""A worker that lived this long is not failing at its start; its next death starts at the short pause again."""
KILL_AFTER = 5.0
"""Seconds that a worker gets beyond its own shutdown limit."""


@dataclass(slots=True)
class _Worker:
    number: int
    process: asyncio.subprocess.Process | None = None
    pause: float = FIRST_PAUSE
    serving: bool = False
    reload: bool = False
    """SIGHUP came while it started and would have ended it."""
    ready: asyncio.Future[dict[str, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Workers:
    """`command(n)` is the argument list of worker `n`."""

    def __init__(self, count: int, command: Callable[[int], Sequence[str]], shutdown_s: float) -> None:
        self._command, self._shutdown_s = command, shutdown_s
        self._workers = [_Worker(n) for n in range(count)]
        self._stopping = asyncio.Event()
        self.exit_code = 0

    async def run(self, say: Callable[[list[dict[str, Any]]], None]) -> int:
        """Until SIGTERM or SIGINT; the exit code. `say` gets every worker's first line once all of them serve.

        A worker that cannot start at all (exit before its line) ends the whole gateway with its exit code: that is a
        fault of the settings, and restarting would not mend it.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        keepers = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        announcing = asyncio.create_task(self._announce(say))
        await self._stopping.wait()
        announcing.cancel()
        await asyncio.gather(*(self._end(worker) for worker in self._workers))
        await asyncio.gather(*keepers)
        return self.exit_code

    async def _announce(self, say: Callable[[list[dict[str, Any]]], None]) -> None:
        say([await worker.ready for worker in self._workers])

    async def _keep(self, worker: _Worker) -> None:
        """Start a worker, and start it again when it dies, until the whole stops."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            worker.process = await asyncio.create_subprocess_exec(
                *self._command(worker.number), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            if self._stopping.is_set():  # it came while the process was made
                worker.process.terminate()
            await self._first_line(worker)
            code = await worker.process.wait()
            worker.serving = False
            if self._stopping.is_set():
                self.exit_code = self.exit_code or max(code, 0)
                return
            if not worker.ready.done():
                self.exit_code = code if code > 0 else 1
                self._stopping.set()
                return
            lived = loop.time() - began
            worker.pause = FIRST_PAUSE if lived > STEADY_SECONDS else min(worker.pause * 2, LONGEST_PAUSE)
            log.error("worker %d ended with %d; starting it again in %.1f s", worker.number, code, worker.pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), worker.pause)

    async def _first_line(self, worker: _Worker) -> None:
        process = worker.process
        assert process is not None and process.stdout is not None  # noqa: S101, PT018 - narrows the types; set just before
        line = await process.stdout.readline()
        if not line:
            return
        worker.serving = True
        if worker.reload:
            worker.reload = False
            self._signal(process)
        if not worker.ready.done():
            worker.ready.set_result(json.loads(line))

    def _reload(self) -> None:
        for worker in self._workers:
            if worker.serving and worker.process is not None:
                self._signal(worker.process)
            else:
                worker.reload = True

    @staticmethod
    def _signal(process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just died
            process.send_signal(signal.SIGHUP)

    async def _end(self, worker: _Worker) -> None:
        """SIGTERM, time for running requests, then SIGKILL."""
        process = worker.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._shutdown_s + KILL_AFTER)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def end_with_parent(stop: asyncio.Event) -> None:
    """In a worker: set `stop` when the parent is gone."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _read_parent, stop)


def _read_parent(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()
