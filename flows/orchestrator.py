"""Prefect's embedded server as a child process of one run, when no server is configured."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx

from flows.child_process import die_with_parent
from flows.engine import prefect_environment
from tasks.errors import AispmError

START_SECONDS = 120
"""Its database migrations take 16 to 34 s on a busy machine."""


class EmbeddedServer:
    """Starting, or started: `wait` returns once it answers.

    Prefect can start such a server by itself, but imports all server modules into the run's own process to do so,
    which costs six seconds at the worst moment.
    """

    def __init__(self, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self._log = log
        # The folder of prefect without importing it: uvicorn resolves the factory from there.
        spec = find_spec("prefect")
        folder = Path(spec.origin).parent if spec and spec.origin else Path()
        factory = ["--app-dir", str(folder.parent), "--factory", "prefect.server.api.server:create_app"]
        listen = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
        with log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *factory, *listen],
                env={**os.environ, "PREFECT_UI_ENABLED": "0"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
                start_new_session=True,  # Ctrl-C is for us alone: we end it when we are done with it
            )

    def wait(self) -> None:
        """Raises AispmError, with the end of its log, when it dies or stays silent."""
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(trust_env=False, timeout=2) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    if client.get(f"{self.url}/health").status_code == 200:
                        return
                except httpx.HTTPError:
                    time.sleep(0.1)
        end = self._log.read_text(encoding="utf-8", errors="replace")[-800:]
        raise AispmError(f"Prefect's server did not start; `--engine plain` runs without it. Its log ends: {end}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def embedded_server(home: Path) -> Iterator[EmbeddedServer | None]:
    """Start a server for this process and point Prefect at it; None when `PREFECT_API_URL` names one already."""
    os.environ.update(prefect_environment(home))
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(home / "prefect" / "server.log")
    os.environ["PREFECT_API_URL"] = server.url
    try:
        yield server
    finally:
        del os.environ["PREFECT_API_URL"]
        server.stop()
