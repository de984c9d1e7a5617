"""Segments become rows that fit the lake's table."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from gateway.wal import Wal
from tasks.errors import VerificationError
from tasks.gateway_logs import chain_head, closed_segments, columns, event_rows, segment_identity

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path):
    for gateway_id, worker in (("gw-b", 0), ("gw-a", 1), ("gw-a", 0)):
        wal = Wal(tmp_path, gateway_id, worker, "boot", 1 << 20, 10.0)
        for _ in range(2):
            wal.append([{"event_kind": "exchange", "decision": "allow"}, {"event_kind": "system"}], NOW, 0.0)
            wal.roll()
        wal.close()
    return tmp_path


def test_columns_are_those_of_the_table():
    """In its order, without those that a commit adds."""
    ddl = (Path(__file__).resolve().parents[2] / "sql/schema/gateway_events.sql").read_text()
    written = re.findall(r"^    ([a-z_]+) (?:VARCHAR|INTEGER|BIGINT|BOOLEAN|TIMESTAMPTZ|DATE)", ddl, re.MULTILINE)
    assert [c for c in written if c != "run_id"] == list(columns())


def test_segments_come_in_order(spool):
    assert [segment_identity(s) for s in closed_segments(spool)] == [
        ("gw-a", 0, 1),
        ("gw-a", 0, 2),
        ("gw-a", 1, 1),
        ("gw-a", 1, 2),
        ("gw-b", 0, 1),
        ("gw-b", 0, 2),
    ]
    assert closed_segments(spool / "nowhere") == []


def test_rows_have_every_column_once(spool):
    segments = closed_segments(spool)
    rows = event_rows(segments[0])
    assert [set(r) for r in rows] == [set(columns())] * 2
    assert (rows[0]["occurred_at"], rows[0]["dt"], rows[0]["model"]) == (NOW, date(2026, 11, 24), None)
    assert chain_head(event_rows(segments[1])).prev_hash == chain_head(rows).hash


def test_a_renamed_segment_is_refused(spool):
    first = closed_segments(spool)[0]
    moved = first.rename(spool / "gw-a-0-0000000009.wal")
    with pytest.raises(VerificationError, match="belongs to another segment"):
        event_rows(moved)


def test_an_unknown_column_is_refused(tmp_path):
    wal = Wal(tmp_path, "gw", 0, "boot", 1 << 20, 10.0)
    wal.append([{"event_kind": "system", "prompt": "x"}], NOW, 0.0)
    wal.close()
    with pytest.raises(VerificationError, match="columns that gateway_events lacks"):
        event_rows(closed_segments(tmp_path)[0])
