"""Signed, chained roots over a run's rows; verification names what was altered."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey, VerifyKey

from tasks import lake as lake_module
from tasks.evidence import merkle_root, seal, verify_lake
from tasks.lake import Lake, tables
from tasks.records import canonical_json, digest
from tasks.reporting.signing import _signer

KEY = _signer(SigningKey(b"k" * 32), "test")
PUBLIC = VerifyKey(KEY.public_key)


def sealed_lake(root: Path, runs: int = 2) -> Lake:
    lake = Lake(root)
    for run in range(1, runs + 1):
        rows = [
            {
                "run_id": f"r{run}",
                "asset_id": f"agent:{n}",
                "check_id": "AGT-01",
                "outcome": "fail",
                "severity": "high",
                "mode": "config",
                "reason": f"reason {n}",
                "evidence": "{}",
                "proof_label": "declared",
                "dt": dt.date(2026, 11, 23),
            }
            for n in range(5)
        ]
        lake.append("check_results", rows, key=f"r{run}", run_id=f"r{run}")
        seal(lake, f"r{run}", flow="nightly", params_sha256="p", code="c", quality="passed", signer=KEY)
    return lake


def recursive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1 word for word, to hold the fast fold against."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + recursive_root(leaves[:split]) + recursive_root(leaves[split:])).digest()


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_the_tree_is_rfc_6962(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == recursive_root(leaves)


def test_a_sealed_lake_verifies(tmp_path: Path) -> None:
    lake = sealed_lake(tmp_path)
    assert verify_lake(lake, PUBLIC) == (10, [])


def test_sealing_twice_keeps_the_first_root(tmp_path: Path) -> None:
    lake = sealed_lake(tmp_path, runs=1)
    again = seal(lake, "r1", flow="nightly", params_sha256="p", code="c", quality="passed", signer=KEY)
    assert again["chain_seq"] == 1
    assert lake.query("select count(*) as n from lake.evidence where kind = 'root'") == [{"n": 1}]


def test_roots_are_chained(tmp_path: Path) -> None:
    lake = sealed_lake(tmp_path)
    first, second = lake.query("select sha256, detail from lake.evidence where kind = 'root' order by position")
    assert f'"prev":"{first["sha256"]}"' in second["detail"]


def rewrite(lake: Lake, change: str, value: object, row: int = 3) -> None:
    """Alter one cell in the data file itself, as somebody with disk access would."""
    file = lake.files("check_results")[0]
    table = pq.read_table(file, partitioning=None)
    rows = table.to_pylist()
    rows[row][change] = value
    pq.write_table(table.from_pylist(rows, schema=table.schema), file)


def test_an_altered_row_is_named(tmp_path: Path) -> None:
    """Changing `fail` to `pass` in the file is found, with table and key of the row."""
    lake = sealed_lake(tmp_path)
    rewrite(lake, "outcome", "pass")
    _, problems = verify_lake(lake, PUBLIC)
    assert len(problems) == 1
    assert problems[0].status == "altered"
    assert "check_results" in problems[0].where
    assert "asset_id=agent:3" in problems[0].where


def test_a_rewritten_hash_breaks_the_root(tmp_path: Path) -> None:
    """An attacker who also rewrites the row's hash is caught by the signed root."""
    from tasks.lake import row_hash, tables

    lake = sealed_lake(tmp_path)
    rewrite(lake, "outcome", "pass")
    [row] = lake.query("select * from lake.check_results where outcome = 'pass'")
    rewrite(lake, "row_sha256", row_hash(tables()["check_results"], row))
    _, problems = verify_lake(lake, PUBLIC)
    assert [p.status for p in problems] == ["altered"]
    assert "root does not match" in problems[0].detail


def test_a_missing_row_is_found(tmp_path: Path) -> None:
    lake = sealed_lake(tmp_path)
    file = lake.files("check_results")[0]
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(1), file)
    _, problems = verify_lake(lake, PUBLIC)
    assert [p.status for p in problems] == ["missing"]


def test_another_key_does_not_verify(tmp_path: Path) -> None:
    _, problems = verify_lake(sealed_lake(tmp_path), SigningKey(b"x" * 32).verify_key)
    assert {p.status for p in problems} == {"altered"}
    assert len(problems) == 2


def test_an_unsealed_run_is_said_to_be_unsealed(tmp_path: Path) -> None:
    _, problems = verify_lake(sealed_lake(tmp_path), PUBLIC, ["r9"])
    assert [p.status for p in problems] == ["unsealed"]


def test_canonical_json_refuses_what_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"x": float("nan")})


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_digest_tells_lists_of_parts_apart(a: list[str], b: list[str]) -> None:
    assert (digest(*a) == digest(*b)) == (a == b)


def test_a_lake_of_an_earlier_version_gains_the_new_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows, their hashes and its signed roots stay as they are; new rows have all columns."""
    now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    old = tmp_path / "schema"
    shutil.copytree(lake_module.SCHEMA_FOLDER, old)
    ddl = (old / "gateway_events.sql").read_text()
    (old / "gateway_events.sql").write_text(ddl.replace("    view VARCHAR,\n", "").replace("    retry INTEGER,\n", ""))
    event = {
        "run_id": "r1", "gateway_id": "g", "worker": 0, "boot_id": "b", "segment_no": 1, "occurred_at": now,
        "event_kind": "exchange", "decision": "allow", "hash": "0" * 64, "dt": now.date(),
    }  # fmt: skip
    lake = Lake(tmp_path / "lake")
    with monkeypatch.context() as past:
        past.setattr(lake_module, "SCHEMA_FOLDER", old)
        tables.cache_clear()
        lake.append("gateway_events", [{**event, "event_id": "e1", "seq": 1}], key="k", run_id="r1")
        seal(lake, "r1", flow="nightly", params_sha256="p", code="c", quality="passed", signer=KEY)
    tables.cache_clear()
    assert lake.query("select event_id, retry from lake.gateway_events") == [{"event_id": "e1", "retry": None}]
    later = {**event, "run_id": "r2", "event_id": "e2", "seq": 2, "view": "leet", "retry": 1}
    lake.append("gateway_events", [later], key="k", run_id="r2", number=2)
    rows = lake.query("select event_id, view, retry from lake.gateway_events order by event_id")
    assert [tuple(row.values()) for row in rows] == [("e1", None, None), ("e2", "leet", 1)]
    seal(lake, "r2", flow="nightly", params_sha256="p", code="c", quality="passed", signer=KEY)
    assert verify_lake(lake, PUBLIC) == (2, [])
