"""Catalogues and kinds read once; an in-memory lake with the views that control states need."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tasks.mapping.catalog import Catalogs, load_catalogs
from tasks.mapping.resolve import KindMapping, load_kinds

SQL = Path(__file__).resolve().parents[2] / "sql"
VIEWS = (
    "int_adjudicated",
    "int_asof",
    "int_asof_assets",
    "int_asof_checks",
    "int_asof_findings",
    "int_kind_evidence",
)
WRITTEN = (
    "runs",
    "asset_versions",
    "check_results",
    "probe_attempts",
    "verdicts",
    "findings",
    "controls",
    "kind_controls",
)
NOW = dt.datetime(2026, 11, 24, 3, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def catalogs() -> Catalogs:
    return load_catalogs()


@pytest.fixture(scope="session")
def kinds(catalogs: Catalogs) -> dict[str, KindMapping]:
    return load_kinds(catalogs)


@dataclass
class TinyLake:
    """Writes rows with harmless defaults for the columns a case does not speak about."""

    con: duckdb.DuckDBPyConnection
    _n: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def rows(self, table: str, *rows: Mapping[str, Any]) -> None:
        stamps = {"recorded_at": NOW, "batch_key": "b", "row_sha256": "0" * 64}
        batch = pa.Table.from_pylist([{**stamps, **row} for row in rows])
        self.con.register("batch", batch)
        names = ", ".join(batch.column_names)
        self.con.execute(f"insert into lake.{table} ({names}) select {names} from batch")  # noqa: S608 - our own names
        self.con.unregister("batch")

    def run(self, run_id: str = "r1", at: dt.datetime = NOW) -> None:
        base = {"run_id": run_id, "flow": "posture", "campaign_id": run_id, "code_version": "v", "params_sha256": "p"}
        base |= {"demo": False, "judges_label": "no judges", "detail": "{}", "entered_at": at}
        self.rows("runs", {**base, "seq": 1, "state": "complete"})

    def asset(self, asset_id: str, kind: str, run_id: str = "r1", state: str = "present") -> None:
        self.rows(
            "asset_versions",
            {
                "asset_id": asset_id, "run_id": run_id, "valid_from": NOW, "kind": kind, "name": asset_id,
                "state": state, "config_hash": "c", "props": "{}", "sources": "[]", "declared": True, "active": True,
                "proof_label": "real_component",
            },
        )  # fmt: skip

    def check(
        self, asset_id: str, check_id: str, outcome: str, proof: str = "real_component", run_id: str = "r1"
    ) -> None:
        self.rows(
            "check_results",
            {
                "run_id": run_id, "asset_id": asset_id, "check_id": check_id, "outcome": outcome, "severity": "high",
                "mode": "config", "reason": "x", "evidence": "{}", "proof_label": proof, "dt": NOW.date(),
            },
        )  # fmt: skip

    def attempts(
        self, asset_id: str, family: str, count: int, verdict: str = "resistant", proof: str = "real_component",
        template: str | None = None, decided: str | None = None,
    ) -> None:  # fmt: skip
        """`count` attempts with distinct templates, or all with `template`; `decided` adds a later verdict."""
        names = [f"a{next(self._n)}" for _ in range(count)]
        attempts = [
            {
                "attempt_id": name, "campaign_id": "r1", "run_id": "r1", "asset_id": asset_id, "family_id": family,
                "family_sha256": "f", "seed_id": "s", "template_sha256": template or f"t-{name}", "transforms": "[]",
                "trial": 0, "tries": 1, "request_sha256": "q", "excerpt": "", "tool_trace": "[]", "started_at": NOW,
                "ended_at": NOW, "error_kind": "timeout" if verdict == "error" else None, "verdict": verdict,
                "proof_label": proof, "dt": NOW.date(),
            }
            for name in names
        ]  # fmt: skip
        self.rows("probe_attempts", *attempts)
        if decided is not None:
            verdicts = [
                {
                    "attempt_id": name, "method_version": "m", "run_id": "r1", "verdict": decided,
                    "decided_by": "judges", "judges_label": "live judges", "route": "automatic", "reason": "x",
                    "decided_at": NOW, "dt": NOW.date(),
                }
                for name in names
            ]  # fmt: skip
            self.rows("verdicts", *verdicts)

    def finding(
        self, kind: str, state: str = "open", seq: int = 1, finding_id: str = "f1", proof: str = "real_component"
    ) -> None:
        self.rows(
            "findings",
            {
                "finding_id": finding_id, "seq": seq, "run_id": "r1", "asset_id": "llm_endpoint:a",
                "finding_kind": kind, "rule_id": kind.partition(".")[2], "title": "t", "severity": "high",
                "state": state, "locator": "", "summary": "s", "fix": "f", "hits": 1, "trials": 1,
                "evidence_sha256": "e", "discovered_at": NOW, "evaluated_at": NOW, "proof_label": proof,
            },
        )  # fmt: skip

    def control(self, key: str, applies_from: dt.date | None = None, assessable: bool = True) -> None:
        edition, _, control_id = key.partition(":")
        framework, _, version = edition.partition("@")
        self.rows(
            "controls",
            {
                "control_key": key, "catalog_sha256": "c1", "run_id": "r1", "framework": framework, "version": version,
                "control_id": control_id, "title": control_id, "kind": "control", "url": "u", "assessable": assessable,
                "applies_from": applies_from,
            },
        )  # fmt: skip

    def maps(self, kind: str, key: str, relation: str = "intersects_with") -> None:
        self.rows(
            "kind_controls",
            {
                "finding_kind": kind, "control_key": key, "catalog_sha256": "c1", "run_id": "r1",
                "framework": key.partition("@")[0], "relation": relation, "grade": "project",
                "edge_id": f"{kind}-{key}", "rationale": "r",
            },
        )  # fmt: skip

    def states(self, run_id: str = "r1") -> dict[str, tuple[str, str]]:
        cursor = self.con.execute("select control_key, state, reason from control_states where run_id = ?", [run_id])
        return {key: (state, reason) for key, state, reason in cursor.fetchall()}


@pytest.fixture(scope="session")
def views() -> duckdb.DuckDBPyConnection:
    """Tables and views once; they hold no rows between tests."""
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'")
    con.execute("create schema lake")
    for file in sorted((SQL / "schema").glob("*.sql")):
        ddl = re.sub(r"create table \w+ \(", f"create table lake.{file.stem} (", file.read_text(), count=1)
        con.execute(ddl)
        for column in ("recorded_at TIMESTAMPTZ", "batch_key VARCHAR", "row_sha256 VARCHAR"):
            con.execute(f"alter table lake.{file.stem} add column {column}")
    files = [*sorted((SQL / "views/staging").glob("*.sql")), *(SQL / "views/intermediate" / f"{v}.sql" for v in VIEWS)]
    for file in [*files, SQL / "views/marts/control_states.sql"]:
        con.execute(f"create view {file.stem} as {file.read_text()}")
    return con


@pytest.fixture
def lake(views: duckdb.DuckDBPyConnection) -> TinyLake:
    for table in WRITTEN:
        views.execute(f"delete from lake.{table}")  # noqa: S608 - our own names
    return TinyLake(views)
