"""Query results for people: cookbook and tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.closing import inert
from tasks.settings import CONTENT_ROOT


def cookbook_queries() -> dict[str, tuple[str, str]]:
    """Name -> (the question it answers, SQL)."""
    found = {}
    for file in sorted((CONTENT_ROOT / "sql" / "cookbook").glob("*.sql")):
        text = file.read_text(encoding="utf-8")
        found[file.stem] = (text.splitlines()[0].lstrip("- ").removeprefix("Question:").strip(), text)
    return found


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, truncated: bool) -> None:
    """Print a table on stdout; cells are data: no markup, no control characters."""
    # Piped output is for other programs: no wrapping at 80 columns there.
    console = Console(width=None if sys.stdout.isatty() else 240)
    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(Text(inert(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else inert(cell)) for cell in row))
    console.print(table)
    console.print(Text(f"{len(rows)} rows" + (" (cut; ask for fewer)" if truncated else "")))
