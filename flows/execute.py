"""One posture run from the command line, plain or under Prefect; the deployments call the same `posture`."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from flows.engine import PlainEngine, PrefectEngine, prefect_environment
from flows.outcome import Outcome
from flows.progress import Progress, shown
from tasks.quality import QualityGate
from tasks.settings import Settings


def execute(
    flow_name: str, settings: Settings, *, engine_name: str | None = None, progress_mode: str = "auto"
) -> Outcome:
    """Run the flow and return its outcome. Errors leave as they are raised, not wrapped by the orchestrator."""
    # The gate's child warms up while the orchestrator starts.
    with QualityGate() as gate, shown(progress_mode) as progress:
        if (engine_name or settings.orchestrator.engine) == "plain":
            from flows.posture import posture

            return posture(flow_name, settings, PlainEngine(progress), gate)
        return _under_prefect(flow_name, settings, gate, progress)


def _under_prefect(flow_name: str, settings: Settings, gate: QualityGate, progress: Progress) -> Outcome:
    os.environ.update(prefect_environment(settings.home))
    _silence_shutdown()
    from prefect import flow

    from flows.posture import posture

    def body() -> Outcome:
        return posture(flow_name, settings, PrefectEngine(progress), gate)

    run: Callable[[], Outcome] = flow(name=flow_name, persist_result=False)(body)
    return run()


def _silence_shutdown() -> None:
    """Prefect's embedded server prints CancelledError tracebacks while it stops; they mean nothing to the user."""
    original = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if "Cancelled" not in "".join(traceback.format_exception_only(unraisable.exc_type, unraisable.exc_value)):
            original(unraisable)

    sys.unraisablehook = hook
