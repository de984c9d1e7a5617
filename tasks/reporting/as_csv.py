"""Findings and controls as CSV for a spreadsheet: every cell quoted, no cell a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.reporting.text import clean

FINDING_COLUMNS = (
    "finding_id", "severity", "state", "title", "finding_kind", "rule_id", "asset_id", "asset_name", "asset_kind",
    "summary", "fix", "owner", "discovered_at", "age_days", "hits", "trials", "low_ppm", "high_ppm", "proof_label",
    "evidence_sha256", "controls", "votes",
)  # fmt: skip
CONTROL_COLUMNS = (
    "key", "framework", "version", "control_id", "title", "state", "findings", "evidence", "applies_from", "reason",
)  # fmt: skip

CELL_LIMIT = 30_000
"""Characters; common spreadsheets cut or refuse cells above 32,767."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "＝", "＋", "－", "＠")


def findings_csv(posture: Mapping[str, Any]) -> str:
    """One line per finding, all findings. `controls` reads `key (grade)` and `votes` `judge=verdict`, by semicolon."""
    return _table(
        FINDING_COLUMNS,
        (
            {
                **f,
                "controls": "; ".join(f"{c['key']} ({c['grade']})" for c in f["controls"]),
                "votes": "; ".join(f"{v['judge_id']}={v['verdict']}" for v in f["votes"]),
            }
            for f in posture["findings"]
        ),
    )


def controls_csv(posture: Mapping[str, Any]) -> str:
    """One line per control, in all six states."""
    return _table(CONTROL_COLUMNS, posture["controls"])


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
    return out.getvalue()


def _cell(value: object) -> str:
    """Null is empty. A leading apostrophe makes a spreadsheet show a formula instead of running it."""
    text = "" if value is None else clean(value, CELL_LIMIT)
    return (
        "'" + text
        if text.startswith(_FORMULA_STARTS) or text.lstrip(" \u00a0\ufffd").startswith(_FORMULA_STARTS)
        else text
    )
