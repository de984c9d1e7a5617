"""Progress for people: a rich display on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tasks.errors import ConfigError

PLAIN_INTERVAL_S = 10.0
"""Without a terminal a step reports at its start, its end and this often between."""


class Progress(Protocol):
    """Where steps report to. Must never raise into the step."""

    def update(self, step: str, done: int, total: int, note: str = "") -> None: ...


class Silent:
    """For tests and `--progress none`."""

    def update(self, step: str, done: int, total: int, note: str = "") -> None:
        """Nothing."""


class PlainProgress:
    """A line per step start and end, and one every ten seconds in between."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def update(self, step: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if done not in (0, total) and now - self._last.get(step, 0.0) < PLAIN_INTERVAL_S:
            return
        self._last[step] = now
        print(f"{step:<10} {done}/{total}  {note}".rstrip(), file=sys.stderr, flush=True)  # noqa: T201 - this is the display


@contextmanager
def shown(mode: str) -> Iterator[Progress]:
    """`auto` = rich on a terminal, else plain; `plain`; `none`. Raises ConfigError for other words."""
    if mode not in ("auto", "plain", "none"):
        raise ConfigError(f"--progress is auto, plain or none, not {mode!r}")
    if mode == "none":
        yield Silent()
    elif mode == "plain" or not sys.stderr.isatty():
        yield PlainProgress()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        # On a narrow terminal the note gives way, not the step or its count.
        fixed, rest = Column(no_wrap=True, min_width=10), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns = (
            TextColumn("{task.description}", table_column=fixed),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("{task.fields[note]}", markup=False, table_column=rest),
        )
        with RichProgress(*columns, console=Console(stderr=True), expand=True) as display:
            yield _RichDisplay(display)


class _RichDisplay:
    def __init__(self, display: object) -> None:
        from rich.progress import Progress as RichProgress

        if not isinstance(display, RichProgress):
            raise TypeError("a rich Progress is needed")
        self._display = display
        self._tasks: dict[str, object] = {}

    def update(self, step: str, done: int, total: int, note: str = "") -> None:
        from rich.progress import TaskID

        if step not in self._tasks:
            self._tasks[step] = self._display.add_task(step, total=max(total, 1), note="")
        task = self._tasks[step]
        if isinstance(task, int):
            self._display.update(TaskID(task), completed=done if total else 1, total=max(total, 1), note=note)
