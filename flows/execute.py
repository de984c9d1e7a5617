"""One posture run from the command line, plain or under Prefect; the deployments call the same `posture`."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.engine import PlainEngine, PrefectEngine, prefect_environment
from flows.outcome import Outcome
from flows.progress import Progress, shown
from tasks.quality import QualityGate
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is slow to start and already on its way."""

    gate: QualityGate
    orchestrator: threading.Thread | None


@contextmanager
def prepared(home: Path, engine_name: str) -> Iterator[Prepared]:
    """Start the quality gate's child and, for Prefect, its embedded server, side by side with what the caller does."""
    home.mkdir(parents=True, exist_ok=True)
    with QualityGate() as gate:
        thread = None
        if engine_name == "prefect":
            os.environ.update(prefect_environment(home))
            thread = threading.Thread(target=_start_orchestrator, name="prefect start", daemon=True)
            thread.start()
        yield Prepared(gate, thread)


def execute(flow_name: str, settings: Settings, ready: Prepared, *, progress_mode: str = "auto") -> Outcome:
    """Run the flow and return its outcome. Errors leave as they are raised, not wrapped by the orchestrator."""
    from flows.posture import posture

    with shown(progress_mode) as progress:
        if ready.orchestrator is None:
            return posture(flow_name, settings, PlainEngine(progress), ready.gate)
        ready.orchestrator.join()
        return _under_prefect(flow_name, settings, ready.gate, progress)


def _under_prefect(flow_name: str, settings: Settings, gate: QualityGate, progress: Progress) -> Outcome:
    _silence_shutdown()
    from prefect import flow

    from flows.posture import posture

    def body() -> Outcome:
        return posture(flow_name, settings, PrefectEngine(progress), gate)

    run: Callable[[], Outcome] = flow(name=flow_name, persist_result=False)(body)
    return run()


def _start_orchestrator() -> None:
    """Import Prefect and, unless a server is configured, start its embedded one. A failure shows in the flow itself."""
    from prefect.settings import PREFECT_API_URL

    import flows.posture  # noqa: F401 - the steps' own imports are slow too, and this is the time for them

    if PREFECT_API_URL.value() is None:
        from prefect.server.api.server import SubprocessASGIServer

        SubprocessASGIServer().start()


def _silence_shutdown() -> None:
    """Prefect's embedded server prints CancelledError tracebacks while it stops; they mean nothing to the user."""
    original = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if "Cancelled" not in "".join(traceback.format_exception_only(unraisable.exc_type, unraisable.exc_value)):
            original(unraisable)

    sys.unraisablehook = hook
