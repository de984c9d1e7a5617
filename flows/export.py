"""Snapshot → signed JSON, HTML, PDF, CSV."""

from __future__ import annotations

import json

from flows.closing import relative
from flows.engine import Engine
from flows.outcome import Outcome
from tasks.crash import crash_point
from tasks.lake import INTERMEDIATE
from tasks.mapping.catalog import load_catalogs
from tasks.reporting.report import ReportFiles, write_report
from tasks.reporting.signing import load_or_create_signer
from tasks.reporting.snapshot import build_posture
from tasks.runs import Run, code_version


def report(run: Run, engine: Engine) -> Outcome:
    """Write the run's report folder from the sealed rows."""
    crash_point("report:before")
    engine.progress.update("report", 0, 1)
    files = engine.run(write_files, run=run)
    posture = json.loads(files.posture.read_bytes())
    state = run.lake.query(
        "select state, detail from lake.runs where run_id = ? order by seq desc limit 1", [run.run_id]
    )[0]
    troubles = tuple(json.loads(state["detail"]).get("troubles", []))
    if files.pdf_failure:
        troubles = (*troubles, f"the PDF could not be made: {files.pdf_failure}")
    engine.progress.update("report", 1, 1, relative(run.report_folder))
    summary = posture["summary"]
    engine.publish(
        "posture",
        f"# Posture {run.run_id}\n\nscore {summary['score_worst']}–{summary['score_best']}, "
        f"findings {summary['findings']}, root `{posture['evidence']['run_root']}`\n\n"
        f"Check it: `aispm verify --run {run.run_id}`",
    )
    crash_point("report:after")
    return Outcome(run.run_id, "incomplete" if troubles else state["state"], troubles, posture, run.report_folder)


def write_files(run: Run) -> ReportFiles:
    """Build `posture.json` from the lake and render everything from it."""
    con = run.lake.connect(keep=INTERMEDIATE)
    try:
        posture = build_posture(con, run.run_id, catalogs=catalog_summary(), code_version=code_version())
    finally:
        con.close()
    crash_point("report:during")
    return write_report(posture, run.report_folder, load_or_create_signer(run.settings.keys))


def catalog_summary() -> list[dict[str, str]]:
    """The catalogue editions that the mapping was made with, as reports name them."""
    return [
        {"framework": e.framework, "version": e.version, "licence": e.licence, "url": e.url, "sha256": e.sha256}
        for e in load_catalogs().editions.values()
    ]
