"""The seam between our steps and an orchestrator: the same steps run plain or as Prefect tasks.

`plain` is a loop over a thread pool, for tests, single commands and machines without Prefect's server; it has no
retries, schedule or state of its own. The lake's commits are the truth under both.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from flows.progress import Progress, Silent
from tasks.errors import ConfigError
from tasks.interruption import StoppedError

ARTIFACT_SECONDS = 2.0
"""Between two updates of a progress artifact at least."""
MAX_WORKERS = 8
"""Batches of one `map` that run at once."""


class Engine(Protocol):
    """Runs steps. An exception of a single step leaves `run`; `map` yields it in place of the result."""

    progress: Progress

    def run(self, step: Callable[..., Any], /, **arguments: Any) -> Any: ...

    def map(
        self, step: Callable[..., Any], batches: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any | Exception]]: ...

    def publish(self, key: str, markdown: str) -> None:
        """Show a summary in the orchestrator's own interface, if it has one."""


class PlainEngine:
    """No orchestrator."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Silent()

    def run(self, step: Callable[..., Any], /, **arguments: Any) -> Any:
        return step(**arguments)

    def map(
        self, step: Callable[..., Any], batches: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any | Exception]]:
        with ThreadPoolExecutor(MAX_WORKERS) as pool:
            running = {pool.submit(step, **batch): batch for batch in batches}
            for future in as_completed(running):
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield running[future], error if error is not None else future.result()

    def publish(self, key: str, markdown: str) -> None:
        """Nowhere to show it."""


class PrefectEngine:
    """Each step is one Prefect task run; call it inside a flow run.

    Nothing is cached or persisted by Prefect: what is done is asked of the lake (see ARCHITECTURE.md).
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress: Progress = ArtifactProgress(progress or Silent())

    def _task(self, step: Callable[..., Any]) -> Any:
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        decorate = task(
            name=step.__name__.replace("_", " "),
            retries=2,
            retry_delay_seconds=[1, 5],
            retry_jitter_factor=0.5,
            retry_condition_fn=_worth_retrying,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        return decorate(step)

    def run(self, step: Callable[..., Any], /, **arguments: Any) -> Any:
        return self._task(step)(**arguments)

    def map(
        self, step: Callable[..., Any], batches: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any | Exception]]:
        from prefect.futures import as_completed as prefect_as_completed
        from prefect.task_runners import ThreadPoolTaskRunner

        task = self._task(step)
        # A flow's own runner starts a thread for every batch at once unless it is told not to.
        runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=MAX_WORKERS)
        with runner:
            running: dict[Any, dict[str, Any]] = {runner.submit(task, parameters=batch): batch for batch in batches}
            for future in prefect_as_completed(list(running)):
                outcome = future.result(raise_on_failure=False)
                yield running[future], outcome

    def publish(self, key: str, markdown: str) -> None:
        from prefect.artifacts import create_markdown_artifact

        with _for_show():
            create_markdown_artifact(markdown, key=key)


class ArtifactProgress:
    """Each step's progress as a Prefect artifact too: counts only, since notes may hold names."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._artifacts: dict[str, Any] = {}
        self._told: dict[str, float] = {}

    def update(self, step: str, done: int, total: int, note: str = "") -> None:
        self._shown.update(step, done, total, note)
        now = time.monotonic()
        if done < total and now - self._told.get(step, -ARTIFACT_SECONDS) < ARTIFACT_SECONDS:
            return
        self._told[step] = now
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        percent, counted = 100 * done / total if total else 100.0, f"{done} of {total}"
        with _for_show():
            if step in self._artifacts:
                update_progress_artifact(self._artifacts[step], percent, counted)
            else:
                self._artifacts[step] = create_progress_artifact(percent, f"progress-{step}", f"{step}: {counted}")


@contextmanager
def _for_show() -> Iterator[None]:
    """What only shows something must not end a run."""
    try:
        yield
    except Exception as e:  # noqa: BLE001 - whatever the orchestrator's API raises
        logging.getLogger(__name__).warning("a Prefect artifact could not be written: %s", type(e).__name__)


def _worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad, and who asked to stop wants no second try: only other failures are tried again."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, ConfigError | StoppedError)


def prefect_environment(home: Path) -> dict[str, str]:
    """What Prefect must find in the environment before it is imported; existing values win.

    Telemetry off; the embedded server may take long to start on a busy machine; its recorder writes in batches.
    """
    wanted = {
        "PREFECT_HOME": str((home / "prefect").resolve()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_CLI_COLORS": "false",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}
