"""The rows fit the lake's tables: nothing is quarantined, and control states can be read back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from tasks.lake import Lake
from tasks.mapping.catalog import control_rows
from tasks.mapping.resolve import finding_control_rows, kind_control_rows, overlap_rows

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)


def test_all_rows_are_accepted_by_the_lake(tmp_path: Path, catalogs, kinds):
    lake = Lake(tmp_path / "lake")
    findings = [{"finding_id": f"f-{kind}", "finding_kind": kind} for kind in kinds]
    batches = {
        "controls": control_rows(catalogs, "r1"),
        "kind_controls": kind_control_rows(kinds),
        "control_overlaps": overlap_rows(catalogs, kinds),
        "finding_controls": finding_control_rows(findings, kinds, "r1", NOW),
    }
    for table, rows in batches.items():
        lake.append(table, [{**row, "run_id": "r1"} for row in rows], key=table, run_id="r1")
    assert lake.query("select count(*) as n from lake.quarantined_rows") == [{"n": 0}]
    for table, rows in batches.items():
        assert lake.query(f"select count(*) as n from lake.{table}") == [{"n": len(rows)}]  # noqa: S608 - our own names
