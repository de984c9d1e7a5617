"""Results → findings, stamped with the controls of every framework."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from flows.engine import Engine
from flows.inputs import mapped_kinds, mappings_version
from tasks.assessment import load_checks
from tasks.crash import crash_point
from tasks.current import VERDICTS_IN_FORCE, WHOLE_CAMPAIGN, latest_versions
from tasks.findings import finding_rows, from_check_results, from_verdicts, of_gone_assets
from tasks.lake import Lake
from tasks.mapping.catalog import control_rows, load_catalogs
from tasks.mapping.resolve import finding_control_rows, kind_control_rows, overlap_rows
from tasks.probing.catalog import Family
from tasks.runs import Run


def map_controls(run: Run, engine: Engine, families: dict[str, Family]) -> list[str]:
    """Load the catalogues, evaluate findings, stamp them."""
    crash_point("map:before")
    engine.progress.update("map", 0, 1)
    found = engine.run(map_findings, run=run, families=families)
    engine.progress.update("map", 1, 1, f"{found} findings evaluated")
    crash_point("map:after")
    return []


def map_findings(run: Run, families: dict[str, Family]) -> int:
    """Commit catalogues (once per edition), findings and their control stamps; how many findings were evaluated."""
    now = dt.datetime.now(dt.UTC)
    catalogs = load_catalogs()
    kinds = mapped_kinds(catalogs, run.settings.probing.folder)
    version = mappings_version(catalogs, run.settings.probing.folder)
    # Catalogues load once per edition, mappings once per change of any of their files.
    _load_reference(run, "controls", catalogs.sha256, lambda: control_rows(catalogs, run.run_id))
    _load_reference(run, "kind_controls", version, lambda: kind_control_rows(kinds))
    _load_reference(run, "control_overlaps", version, lambda: overlap_rows(catalogs, kinds))
    findings = evaluate(run, families, now)
    run.commit("findings", findings)
    crash_point("map:during")
    # Read back: after a kill between the two commits the findings of the first try are the ones to stamp.
    stamped = run.lake.query("select * from lake.findings where run_id = ?", [run.run_id])
    run.commit("finding_controls", finding_control_rows(stamped, kinds, run.run_id, now))
    return len(stamped)


def evaluate(run: Run, families: dict[str, Family], now: dt.datetime) -> list[dict[str, Any]]:
    """What this run's check results and verdicts say, against the findings of the runs before."""
    previous = run.lake.query(
        """select * from lake.findings where run_id <> ?
           qualify row_number() over (partition by finding_id order by seq desc) = 1""",
        [run.run_id],
    )
    checks = run.lake.query("select * from lake.check_results where run_id = ?", [run.run_id])
    verdicts = verdicts_in_force(run.lake, run.run_id)
    titles = {check_id: (check.title, check.fix) for check_id, check in load_checks().items()}
    described = {name: (f.title, f.severity, f.fix) for name, f in families.items() if not f.control_group}
    gone = {row["asset_id"] for row in latest_versions(run.lake) if row["state"] == "absent"}
    evaluations = [
        *from_check_results(checks, titles, now.date()),
        *from_verdicts([row for row in verdicts if row["family_id"] in described], described),
        *of_gone_assets(previous, gone),
    ]
    return finding_rows(evaluations, {row["finding_id"]: row for row in previous}, run.run_id, now)


def verdicts_in_force(lake: Lake, run_id: str) -> list[dict[str, Any]]:
    """Per asset and family of the attempts of a run's whole campaign: verdicts in force (human before judges before
    evidence, then the newest), and how many undecided ones propose `vulnerable` to a human."""
    return lake.query(
        f"""with in_force as ({VERDICTS_IN_FORCE}),
           requests as (
               select * from lake.reviews where label is null
               qualify row_number() over (partition by attempt_id order by requested_at desc, review_id desc) = 1
           )
           select a.asset_id, a.family_id, any_value(a.proof_label) as proof_label,
                  count(*) filter (v.verdict = 'vulnerable')::int as vulnerable,
                  count(*) filter (v.verdict = 'resistant')::int as resistant,
                  count(*) filter (v.verdict = 'undecided' and r.proposal = 'vulnerable')::int as review,
                  coalesce(to_json(list(a.attempt_id order by a.attempt_id) filter (
                      v.verdict = 'vulnerable' or v.verdict = 'undecided' and r.proposal = 'vulnerable'
                  )), '[]')::varchar as attempts
           from lake.probe_attempts a
           join in_force v using (attempt_id)
           left join requests r using (attempt_id)
           where a.attempt_id in ({WHOLE_CAMPAIGN})
           group by all order by a.asset_id, a.family_id""",  # noqa: S608 - a constant
        [run_id],
    )


def _load_reference(run: Run, table: str, version: str, rows: Callable[[], list[dict[str, Any]]]) -> None:
    """Commit `rows()`, which are made only when no run has loaded this version yet."""
    key = f"reference/{table}/{version}"
    if not run.lake.committed(table, key):
        run.lake.append(table, [{**row, "run_id": run.run_id} for row in rows()], key=key, run_id=run.run_id)
