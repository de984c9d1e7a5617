"""Judges asked again: attempts that they failed on, and a quarantined judge's test before its release."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flows.judge import BATCH, calibrate, judge_batch, panel_of, record_egress
from flows.side_run import JUDGING, side_run
from tasks.current import VERDICTS_IN_FORCE
from tasks.errors import ConfigError, IncompleteError
from tasks.judging.anchors import read_quarantined
from tasks.judging.asking import ask_judges
from tasks.judging.configured import configured_panel, new_budget
from tasks.judging.estimate import Estimate, estimate
from tasks.judging.gold import draw
from tasks.judging.health import OK, RELEASED, Health, examine, health_rows, mark
from tasks.judging.ledger import vote_rows
from tasks.lake import Lake
from tasks.probing.cases import case_for
from tasks.probing.catalog import Family
from tasks.settings import Settings

RERUN_STEP = 10
"""Between the repeats of one asking and the next; those in between are swapped readings."""


def failed_attempts(lake: Lake, run_id: str | None = None) -> list[dict[str, Any]]:
    """Attempts of the newest posture run (or of `run_id`) whose verdict in force is `judges_unavailable`."""
    runs = lake.query("select max(run_id) as run_id from lake.probe_attempts")
    wanted = run_id or runs[0]["run_id"]
    if run_id is not None and not lake.query("select 1 from lake.runs where run_id = ? limit 1", [run_id]):
        raise ConfigError(f'there is no run `{run_id}`; `aispm sql "from runs"` lists them')
    return lake.query(
        f"""with in_force as ({VERDICTS_IN_FORCE})
           select a.*, (
               select coalesce(max(v.repeat), 0) from lake.judge_votes v where v.attempt_id = a.attempt_id
           ) as repeats
           from lake.probe_attempts a join in_force v using (attempt_id)
           where a.run_id = ? and v.reason = 'judges_unavailable' order by a.attempt_id""",  # noqa: S608 - a constant
        [wanted],
    )


def estimated(settings: Settings, families: Mapping[str, Family]) -> tuple[int, list[Estimate]]:
    """(attempts of the newest run that judges would read, what each judge would be asked and cost at most)."""
    attempts = Lake(settings.lake).query(
        """select * from lake.probe_attempts
           where run_id = (select max(run_id) from lake.probe_attempts) and verdict = 'undecided' and rubric is not null
           order by attempt_id"""
    )
    cases = [case for row in attempts if (case := case_for(row, families)) is not None]
    windows = range(0, len(cases), BATCH)
    tests = [t.case for n in windows for t in draw(f"estimate/{n}", settings.judging.gold_rows)]
    panel = configured_panel(settings.judging, new_budget(settings.judging), keys=lambda reference: None)
    return len(cases), estimate(panel, cases, tests)


def rerun(settings: Settings, families: Mapping[str, Family], run_id: str | None = None) -> tuple[int, int]:
    """Ask the judges again about what they failed on: (attempts asked, attempts still without two valid votes)."""
    attempts = failed_attempts(Lake(settings.lake), run_id)
    if not attempts:
        return 0, 0
    again = (max(a.pop("repeats") for a in attempts) // RERUN_STEP + 1) * RERUN_STEP
    with side_run(JUDGING, settings) as run:
        calibrate(run)
        for number in range(0, len(attempts), BATCH):
            judge_batch(run, number, attempts[number : number + BATCH], families, rerun=again)
        record_egress(run)
        left = run.lake.query(
            "select count(*) as n from lake.verdicts where run_id = ? and reason = 'judges_unavailable'", [run.run_id]
        )
    return len(attempts), left[0]["n"]


def release(settings: Settings, judge_id: str, *, by: str, reason: str) -> Health:
    """Test a quarantined judge on fresh gold rows and, if it passes, release it in the name of `by`.

    Raises ConfigError when it is not quarantined or nobody signs for it, IncompleteError when it fails again.
    """
    lake = Lake(settings.lake)
    if not by.strip() or not reason.strip():
        raise ConfigError("a release needs --by and --reason: both are kept as evidence")
    panel = panel_of(settings)
    quarantined = read_quarantined(lake, panel)
    if judge_id not in quarantined:
        held = ", ".join(sorted(quarantined)) or "none"
        raise ConfigError(f"judge `{judge_id}` is not in quarantine; in quarantine: {held}")
    with side_run(JUDGING, settings) as run:
        judges = [j for j in panel_of(settings, run.run_id).judges if j.spec.name == judge_id]
        tests = draw(run.run_id, settings.judging.gold_rows)
        votes = mark([v for own in ask_judges(judges, [t.case for t in tests]) for v in own], tests)
        health = examine(votes, tests)[judge_id]
        passed = health.state == OK
        health = replace(health, state=RELEASED, by=by.strip(), reason=reason.strip()) if passed else health
        run.commit("judge_votes", vote_rows(votes, run_id=run.run_id))
        now = dt.datetime.now(dt.UTC)
        run.commit("evidence", health_rows([health], run_id=run.run_id, window=0, made_at=now), batch="health")
        record_egress(run)
    if not passed:
        raise IncompleteError(
            f"judge `{judge_id}` stays in quarantine: {health.right} of {health.gold} gold rows right "
            f"(more than {health.threshold} wanted), {health.flips} of {health.pairs} pairs flipped"
        )
    return health
