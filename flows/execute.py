"""One posture run from the command line, plain or under Prefect; the deployments call the same `posture`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from flows.engine import PlainEngine, PrefectEngine
from flows.orchestrator import EmbeddedServer, embedded_server
from flows.outcome import Outcome
from flows.progress import Progress, shown
from tasks.interruption import STOPPING
from tasks.quality import QualityGate
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is slow to start and already on its way."""

    engine: str
    gate: QualityGate
    server: EmbeddedServer | None


@contextmanager
def prepared(home: Path, engine: str) -> Iterator[Prepared]:
    """Start the quality gate's child and, for Prefect, its server, side by side with what the caller does next."""
    home.mkdir(parents=True, exist_ok=True)
    with QualityGate() as gate, embedded_server(home) if engine == "prefect" else nullcontext() as server:
        yield Prepared(engine, gate, server)


def execute(
    flow_name: str, settings: Settings, ready: Prepared, *, progress_mode: str = "auto", fresh: bool = False
) -> Outcome:
    """Run the flow and return its outcome; `fresh` starts over where it would go on.

    Errors leave as they are raised, not wrapped by the orchestrator.
    """
    from flows.posture import posture

    with shown(progress_mode) as progress, _stopping_on_signals():
        if ready.engine == "plain":
            return posture(flow_name, settings, PlainEngine(progress), ready.gate, fresh=fresh)
        return _under_prefect(flow_name, settings, ready, progress, fresh)


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a run the same way: no new attempt, those in flight are finished and kept."""

    def stop(*_: object) -> None:
        STOPPING.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        STOPPING.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _under_prefect(flow_name: str, settings: Settings, ready: Prepared, progress: Progress, fresh: bool) -> Outcome:
    from prefect import flow

    from flows.posture import posture

    def body() -> Outcome:
        return posture(flow_name, settings, PrefectEngine(progress), ready.gate, fresh=fresh)

    if ready.server is not None:
        ready.server.wait()
    run: Callable[[], Outcome] = flow(name=flow_name, persist_result=False)(body)
    return run()
