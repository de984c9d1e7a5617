"""What operators ask of one worker, on a loopback port of its own: is it alive, is it ready, what did it count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.http_server import Answer, Request, json_answer
from gateway.metrics import CONTENT_TYPE, Metrics


class Operations:
    """`/healthz` answers 200 as long as the process serves, `/readyz` 503 while requests would be refused."""

    def __init__(self, metrics: Metrics, faults: Callable[[], list[str]], gauges: Callable[[], dict[str, Any]]) -> None:
        """`faults` names what keeps the worker from answering requests; `gauges` as the parameters of `text`."""
        self._metrics, self._faults, self._gauges = metrics, faults, gauges

    async def handle(self, request: Request) -> Answer:
        """Nothing here needs a key: it holds no names that a client chose, and only this machine can ask."""
        if request.method not in ("GET", "HEAD"):
            return Answer(405, {"Allow": "GET, HEAD"})
        faults = self._faults()
        if request.raw_path == "/healthz":
            return json_answer(200, {"status": "ok"})
        if request.raw_path == "/readyz":
            return json_answer(503 if faults else 200, {"ready": not faults, "faults": faults})
        if request.raw_path == "/metrics":
            text = self._metrics.text(ready=not faults, **self._gauges())
            return Answer(200, {"Content-Type": CONTENT_TYPE}, text.encode())
        return Answer(404, {})
