"""How a run ends: quality gate, final state, signed root."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.engine import Engine
from tasks.crash import crash_point
from tasks.evidence import seal
from tasks.quality import QualityGate, QualityResult, with_lake_checks
from tasks.records import canonical_json, digest
from tasks.reporting.signing import Signer, load_or_create_signer
from tasks.runs import Run, code_version, unsent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run hands to its caller."""

    run_id: str
    state: str
    troubles: tuple[str, ...]
    posture: dict[str, Any]
    folder: Path


def conclude(run: Run, engine: Engine, gate: QualityGate, troubles: list[str]) -> None:
    """Check what was committed, write the run's final state, sign the root over all of it."""
    crash_point("quality:before")
    engine.progress.update("quality", 0, 1)
    result = with_lake_checks(gate.check(run.settings.lake, run.run_id), run.lake)
    crash_point("quality:during")
    run.commit("evidence", quality_rows(run, result), batch="quality")
    failed = sum(r["state"] != "passed" for r in result.results)
    engine.progress.update("quality", 1, 1, f"{len(result.results)} expectations, {failed} failed")
    crash_point("quality:after")
    if result.state != "passed":
        named = ", ".join(f"{r['table']} {r['expectation']}".strip() for r in result.results if r["state"] != "passed")
        troubles = [*troubles, f"quality gate {result.state}: {result.detail or named}"]
    run.record("incomplete" if troubles else "complete", {"troubles": troubles})
    crash_point("seal:before")
    engine.progress.update("seal", 0, 1)
    signer = load_or_create_signer(run.settings.keys)
    for abandoned in _unsealed(run):
        _seal(run, abandoned["run_id"], abandoned["params_sha256"], "not checked", signer)
    body = _seal(run, run.run_id, run.params_sha256, result.state, signer)
    if not unsent(run.lake, run.run_id):
        shutil.rmtree(run.spool, ignore_errors=True)  # every reply in it is committed and sealed now
    engine.progress.update("seal", 1, 1, f"root {body['root'][:12]}")
    crash_point("seal:after")


def _seal(run: Run, run_id: str, params: str, quality: str, signer: Signer) -> dict[str, Any]:
    return seal(
        run.lake, run_id, flow=run.flow, params_sha256=params, code=code_version(), quality=quality, signer=signer
    )


def _unsealed(run: Run) -> list[dict[str, Any]]:
    """Runs of this flow that ended without a root: killed, then given up because their inputs had changed.

    The open run of another flow is not given up: its next call resumes it.
    """
    return run.lake.query(
        """select run_id, any_value(params_sha256) as params_sha256 from lake.runs where run_id <> ? and flow = ?
           and run_id not in (select run_id from lake.evidence where kind = 'root') group by run_id order by run_id""",
        [run.run_id, run.flow],
    )


def quality_rows(run: Run, result: QualityResult) -> list[dict[str, Any]]:
    """One row per expectation; a gate that could not answer leaves one row that says so."""
    results = result.results or ({"table": "", "expectation": "gate", "state": result.state, "detail": result.detail},)
    now = dt.datetime.now(dt.UTC)
    return [
        {
            "run_id": run.run_id,
            "kind": "quality",
            "table_name": one["table"],
            "position": number,
            "sha256": digest(canonical_json(one)),
            "detail": canonical_json(one),
            "made_at": now,
        }
        for number, one in enumerate(results)
    ]
