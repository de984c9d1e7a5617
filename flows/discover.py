"""Sources → observations, assets, edges, tool versions."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from flows.engine import Engine
from tasks.crash import crash_point
from tasks.current import latest_versions, merged_aliases
from tasks.discovery import SourceContext, asset_rows, enabled_sources
from tasks.discovery import discover as collect
from tasks.discovery.inventory import Inventory
from tasks.records import Completeness, SourceResult, canonical_json, digest
from tasks.runs import Run


def discover(run: Run, engine: Engine, inventory: Inventory) -> list[str]:
    """One task per source, then one that merges what they saw. Returns what went wrong."""
    crash_point("discover:before")
    # A resumed run keeps what it saw, and with it what it could not see.
    if not run.committed("evidence", "sources"):
        results: list[SourceResult] = []
        batches = [{"run": run, "source": name, "inventory": inventory} for name in enabled_sources(run.settings)]
        engine.progress.update("discover", 0, len(batches))
        for done, (batch, outcome) in enumerate(engine.map(collect_source, batches), 1):
            if isinstance(outcome, Exception):
                reason = f"the source failed: {outcome}"
                outcome = [SourceResult(batch["source"], "*", Completeness.ERROR, reason, ())]
            results += outcome
            engine.progress.update("discover", done, len(batches), batch["source"])
        engine.run(merge_assets, run=run, results=results)
    crash_point("discover:after")
    sources = run.lake.query(
        "select detail from lake.evidence where kind = 'source' and run_id = ? order by position", [run.run_id]
    )
    details = [json.loads(row["detail"]) for row in sources]
    return [f"{d['source']} {d['scope']}: {d['reason']}" for d in details if d["completeness"] == Completeness.ERROR]


def collect_source(run: Run, source: str, inventory: Inventory) -> list[SourceResult]:
    """What one source sees now."""
    return collect(source, SourceContext(run.settings, inventory))


def merge_assets(run: Run, results: list[SourceResult]) -> None:
    """Resolve identities and commit everything that was seen, each table once per run."""
    now = dt.datetime.now(dt.UTC)
    results = sorted(results, key=lambda r: (r.source, r.scope))
    rows = asset_rows(results, latest_versions(run.lake), run.run_id, now, merged_aliases(run.lake))
    for table in ("observations", "edges", "asset_aliases", "tool_versions", "asset_versions"):
        run.commit(table, rows[table])
        crash_point("discover:during")
    run.commit("evidence", [_source_row(run, n, r, now) for n, r in enumerate(results)], batch="sources")


def _source_row(run: Run, position: int, result: SourceResult, now: dt.datetime) -> dict[str, Any]:
    detail = canonical_json(
        {
            "source": result.source,
            "scope": result.scope,
            "completeness": result.completeness,
            "reason": result.reason,
            "observations": len(result.observations),
        }
    )
    return {
        "run_id": run.run_id,
        "kind": "source",
        "table_name": "observations",
        "position": position,
        "sha256": digest(detail),
        "detail": detail,
        "made_at": now,
    }
