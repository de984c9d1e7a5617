"""The lake: what is acknowledged is there once, what is wrong is quarantined with a reason."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import LakeError
from tasks.lake import Committed, Lake, Skipped, row_hash, tables

NOW = dt.datetime(2026, 11, 23, 2, 0, 0, 7, tzinfo=dt.UTC)


def check_row(**changes: object) -> dict[str, object]:
    return {
        "run_id": "r1",
        "asset_id": "agent:a",
        "check_id": "AGT-01",
        "outcome": "fail",
        "severity": "high",
        "mode": "config",
        "reason": "because",
        "evidence": "{}",
        "proof_label": "declared",
        "dt": NOW.date(),
        **changes,
    }


def test_every_schema_file_is_a_table_with_a_key() -> None:
    """Each DDL names its table after its file and has a primary key."""
    assert len(tables()) >= 20
    assert all(table.key for table in tables().values())


def test_a_batch_lands_once(lake: Lake) -> None:
    """The second append of a key writes nothing and says so."""
    assert lake.append("check_results", [check_row()], key="k", run_id="r1") == Committed(1, 1, 0)
    assert lake.append("check_results", [check_row()], key="k", run_id="r1") == Skipped()
    assert lake.query("select count(*) as n from lake.check_results") == [{"n": 1}]
    assert lake.committed("check_results", "k")
    assert not lake.committed("check_results", "other")


def test_numbered_batches_go_forward_only(lake: Lake) -> None:
    """A stream's segments commit in order; an old number is never accepted again."""
    assert isinstance(lake.append("check_results", [check_row()], key="s", run_id="r1", number=3), Committed)
    assert isinstance(lake.append("check_results", [check_row(check_id="X")], key="s", run_id="r1", number=2), Skipped)
    assert isinstance(
        lake.append("check_results", [check_row(check_id="Y")], key="s", run_id="r1", number=4), Committed
    )


def test_bad_rows_are_quarantined_with_the_reason(lake: Lake) -> None:
    """Constraint, missing value, wrong type and repeated key: the good row lands, the others are named."""
    rows = [
        check_row(),
        check_row(check_id="B", outcome="great"),
        check_row(check_id="C", reason=None),
        check_row(check_id="D", dt="not a date"),
        check_row(check_id="E", evidence="{broken"),
        check_row(),
    ]
    assert lake.append("check_results", rows, key="k", run_id="r1") == Committed(1, 1, 5)
    reasons = sorted(row["reason"] for row in lake.query("select reason from lake.quarantined_rows"))
    assert len(reasons) == 5
    for part in ("outcome IN", "reason is missing", "wrong type", "json_valid", "repeats the key"):
        assert any(part in reason for reason in reasons), part


def test_quarantine_holds_no_body(lake: Lake) -> None:
    """A rejected row's content is kept as a hash only."""
    lake.append("check_results", [check_row(outcome="CANARY-42")], key="k", run_id="r1")
    assert "CANARY-42" not in json.dumps(lake.query("select * from lake.quarantined_rows"), default=str)


def test_an_unknown_column_is_refused(lake: Lake) -> None:
    """A typo in a row is an error, not a silently dropped value."""
    with pytest.raises(LakeError, match="no column outcom"):
        lake.append("check_results", [check_row(outcom="fail")], key="k", run_id="r1")


def test_a_planted_file_is_not_read(lake: Lake) -> None:
    """Views list the files of the table's log, never a folder."""
    lake.append("check_results", [check_row()], key="k", run_id="r1")
    real = Path(lake.files("check_results")[0])
    (real.parent / "planted.parquet").write_bytes(real.read_bytes())
    assert lake.query("select count(*) as n from lake.check_results") == [{"n": 1}]


def test_rows_come_back_as_they_were_hashed(lake: Lake) -> None:
    """Time stamps, dates, integers, nulls and odd text survive the round trip: the hash still matches."""
    odd = check_row(reason="ünï \u202e '; drop table --", evidence='{"a": "\\u0000"}')
    lake.append("check_results", [odd], key="k", run_id="r1")
    [row] = lake.query("select * from lake.check_results")
    assert row_hash(tables()["check_results"], row) == row["row_sha256"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=50)), min_size=1, max_size=8))
def test_any_text_round_trips(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    """Whatever text a target or inventory holds: rows are kept or quarantined, none lost, hashes match."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    rows = [check_row(check_id=check, reason=reason) for check, reason in pairs]
    result = lake.append("check_results", rows, key="k", run_id="r1")
    assert isinstance(result, Committed)
    assert result.rows + result.quarantined == len(rows)
    stored = lake.query("select * from lake.check_results")
    assert len(stored) == result.rows
    assert all(row_hash(tables()["check_results"], row) == row["row_sha256"] for row in stored)


def writer(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A child process with this module's `check_row` and the lake at hand."""
    head = """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from test_lake import check_row
        from tasks.lake import Lake
        lake = Lake(Path(sys.argv[2]))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script), str(Path(__file__).parent), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )


def test_racing_writers_of_one_key_commit_it_once(lake: Lake) -> None:
    """Two processes append the same eight keys: eight rows, whoever wins each."""
    script = """
        won = 0
        for n in range(8):
            row = check_row(check_id=f"C{n}", reason=sys.argv[3])
            won += lake.append("check_results", [row], key=f"k{n}", run_id="r1").rows
        print(won)
    """
    writers = [writer(script, str(lake.root), str(n)) for n in range(2)]
    assert sum(int(child.communicate()[0]) for child in writers) == 8
    [row] = lake.query("select count(*) as n, count(distinct check_id) as d from lake.check_results")
    assert row == {"n": 8, "d": 8}


def test_racing_first_writers_create_a_table_together(tmp_path: Path) -> None:
    """Eight threads meet a table that is not there yet, twenty times over: one creates it, all find it."""
    with ThreadPoolExecutor(8) as pool:
        for n in range(20):
            lake, start = Lake(tmp_path / str(n)), threading.Barrier(8)

            def ask(key: str, lake: Lake = lake, start: threading.Barrier = start) -> bool:
                start.wait()
                return lake.committed("evidence", key)

            assert not any(pool.map(ask, "abcdefgh"))


def test_nothing_acknowledged_is_lost_when_killed(tmp_path: Path) -> None:
    """SIGKILL at random moments: every acknowledged batch is there, none twice, retries included."""
    script = """
        for n in range(int(sys.argv[3]), 400):
            lake.append("check_results", [check_row(check_id=f"C{n}")], key=f"k{n}", run_id="r1")
            print(n, flush=True)
    """
    acknowledged = -1
    for round_number in range(4):
        child = writer(script, str(tmp_path / "lake"), str(max(acknowledged, 0)))
        assert child.stdout is not None
        # Counted in acknowledged batches, so that a slow disk makes the test longer and not emptier.
        lines = [child.stdout.readline() for _ in range(2 + round_number)]
        time.sleep(0.007 * round_number)  # so that the kills fall at different moments of an append
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
        acknowledged = max([acknowledged, *(int(line) for line in lines if line.endswith("\n"))])
        child.wait()
        child.stdout.close()
    found = Lake(tmp_path / "lake").query("select check_id, count(*) as n from lake.check_results group by 1")
    assert acknowledged >= 4
    assert {f"C{n}" for n in range(acknowledged + 1)} <= {row["check_id"] for row in found}
    assert all(row["n"] == 1 for row in found)


def test_a_batch_that_was_overtaken_adds_nothing(lake) -> None:
    def put(number: int, after: int) -> Committed | Skipped:
        rows = [check_row(asset_id=f"agent:{n}") for n in range(after + 1, number + 1)]
        return lake.append("check_results", rows, key="k", run_id="r1", number=number, after=after)

    assert isinstance(put(2, 0), Committed)
    assert isinstance(put(3, 0), Skipped)
    assert isinstance(put(4, 3), Skipped)
    assert isinstance(put(3, 2), Committed)
    assert lake.last_number("check_results", "k") == 3
    assert lake.query("select count(*) as n from lake.check_results") == [{"n": 3}]
