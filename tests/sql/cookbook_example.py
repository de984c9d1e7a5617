"""The example output in the head of every cookbook query: what it gives on the lake of `two_runs.py`.

`python tests/sql/cookbook_example.py` writes them anew; a test fails when one is out of date.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
from lake_double import SQL
from two_runs import two_runs

COOKBOOK = SQL / "cookbook"
ROWS_SHOWN = 3
_EXAMPLE = re.compile(r"^-- Example:\n(?:--   .*\n)*", re.M)


def example(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The `-- Example:` block: the columns, the first rows, and how many more there are."""
    cursor = con.execute(sql)
    lines = [" | ".join(column[0] for column in cursor.description or ())]
    rows = cursor.fetchall()
    lines += [" | ".join(_text(value) for value in row) for row in rows[:ROWS_SHOWN]]
    if len(rows) > ROWS_SHOWN:
        lines.append(f"… {len(rows) - ROWS_SHOWN} more")
    if not rows:
        lines.append("(no rows)")
    return "-- Example:\n" + "".join(f"--   {line}\n" for line in lines)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return "null" if value is None else str(value)


def with_example(con: duckdb.DuckDBPyConnection, file: Path) -> str:
    sql = file.read_text()
    return _EXAMPLE.sub(lambda _: example(con, sql), sql, count=1)


if __name__ == "__main__":
    lake = two_runs()
    for file in sorted(COOKBOOK.glob("*.sql")):
        file.write_text(with_example(lake, file))
