"""What waits for a person, and a person's decision: a new verdict that overrides, and an anchor for calibration."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flows.inputs import mapped_kinds
from flows.map_controls import verdicts_in_force
from flows.side_run import REVIEW, side_run
from tasks.errors import ConfigError
from tasks.findings import finding_rows, from_verdicts
from tasks.judging.ledger import human_rows
from tasks.lake import Lake
from tasks.mapping.catalog import load_catalogs
from tasks.mapping.resolve import finding_control_rows
from tasks.probing.catalog import Family, load_families
from tasks.runs import Run
from tasks.settings import Settings

LABELS = ("vulnerable", "resistant")
MAX_TEXT = 1000
"""Characters of a reason."""


def read_families(settings: Settings) -> dict[str, Family]:
    """The probe families that a run of these settings knows."""
    return load_families(extra_folder=settings.probing.folder)


def waiting(lake: Lake, family: str | None = None, *, decided: bool = False) -> list[dict[str, Any]]:
    """Requests without a decision, oldest first; with `decided` those that have one. Optionally of one family."""
    rows = lake.query(
        """with decisions as (
               select * from lake.reviews where label is not null
               qualify row_number() over (partition by attempt_id order by labelled_at desc, review_id desc) = 1
           ),
           requests as (
               select * from lake.reviews where label is null
               qualify row_number() over (partition by attempt_id order by requested_at desc, review_id desc) = 1
           )
           select q.review_id, q.attempt_id, q.proposal, q.reason, q.requested_at, a.family_id, a.asset_id,
                  d.label, d.reviewer, d.labelled_at, d.reason as decision_reason
           from requests q join lake.probe_attempts a using (attempt_id) left join decisions d using (attempt_id)
           order by q.requested_at, q.review_id"""
    )
    if family is not None and family not in {row["family_id"] for row in rows}:
        known = ", ".join(sorted({row["family_id"] for row in rows})) or "none"
        raise ConfigError(f"no review of family `{family}`; families in the queue: {known}")
    return [r for r in rows if (r["label"] is not None) == decided and family in (None, r["family_id"])]


def find(lake: Lake, review: str) -> dict[str, Any]:
    """The request whose id starts with `review`, with the attempt and its votes. Raises ConfigError when not one."""
    everything = waiting(lake) + waiting(lake, decided=True)
    matches = [row for row in everything if row["review_id"].startswith(review)] if len(review) >= 4 else []
    if len(matches) != 1:
        said = "no review" if not matches else f"{len(matches)} reviews"
        raise ConfigError(f"{said} with id `{review}`; give four characters or more of an id of `aispm review ls`")
    found = matches[0]
    attempt = lake.query("select * from lake.probe_attempts where attempt_id = ?", [found["attempt_id"]])[0]
    votes = lake.query(
        """select * from lake.judge_votes where attempt_id = ? and coalesce(purpose, 'case') = 'case'
           order by role, judge_id, repeat""",
        [found["attempt_id"]],
    )
    verdicts = lake.query("select * from lake.verdicts where attempt_id = ? order by decided_at", [found["attempt_id"]])
    return {**found, "attempt": attempt, "votes": votes, "verdicts": verdicts}


def decide(
    settings: Settings, families: dict[str, Family], review: str, label: str, *, reviewer: str, reason: str, again: bool
) -> dict[str, Any]:
    """Commit a person's decision as rows of a run of its own; returns what changed.

    Raises ConfigError on an unknown id or label, an empty reviewer or reason, or a decision that is there already
    (unless `again`).
    """
    if label not in LABELS:
        raise ConfigError(f"the label is {' or '.join(LABELS)}, not `{label}`")
    if not reviewer.strip() or not reason.strip():
        raise ConfigError("a decision needs --reviewer and --reason: both are kept as evidence")
    if len(reason) > MAX_TEXT or len(reviewer) > MAX_TEXT:
        raise ConfigError(f"--reviewer and --reason take {MAX_TEXT} characters at most")
    found = find(Lake(settings.lake), review)
    if found["label"] is not None and not again:
        raise ConfigError(
            f"{found['reviewer']} has called it {found['label']} already; --again decides anew, and the newest counts"
        )
    with side_run(REVIEW, settings) as run:
        now = dt.datetime.now(dt.UTC)
        decision, verdict = human_rows(
            found, label, reviewer=reviewer.strip(), reason=reason.strip(), run_id=run.run_id, at=now
        )
        run.commit("reviews", [decision])
        run.commit("verdicts", [verdict])
        state = _reevaluate(run, found["attempt"], label, families, now)
    return {
        "review_id": found["review_id"],
        "attempt_id": found["attempt_id"],
        "label": label,
        "supersedes": verdict["supersedes"],
        "finding": state,
        "run_id": run.run_id,
    }


def _reevaluate(
    run: Run, attempt: dict[str, Any], label: str, families: dict[str, Family], now: dt.datetime
) -> str | None:
    """The finding of the attempt's asset and family in the light of the decision: its state now, None if there is none.

    Nothing changes when a later run has evaluated it since: that rests on newer attempts.
    """
    family = families.get(attempt["family_id"])
    if family is None or family.control_group:
        return None
    rows = [
        row
        for row in verdicts_in_force(run.lake, attempt["run_id"])
        if (row["asset_id"], row["family_id"]) == (attempt["asset_id"], attempt["family_id"])
    ]
    evaluations = from_verdicts(rows, {attempt["family_id"]: (family.title, family.severity, family.fix)})
    previous = run.lake.query(
        """select * from lake.findings where finding_id = ?
           qualify row_number() over (partition by finding_id order by seq desc) = 1""",
        [evaluations[0].finding_id if evaluations else ""],
    )
    newer = run.lake.query(
        """select 1 from lake.probe_attempts
           where asset_id = ? and family_id = ? and run_id > ? and campaign_id <> ? limit 1""",
        [attempt["asset_id"], attempt["family_id"], attempt["run_id"], attempt["campaign_id"]],
    )
    if newer or not evaluations:
        return previous[0]["state"] if previous else None
    findings = finding_rows(evaluations, {row["finding_id"]: row for row in previous}, run.run_id, now)
    for finding in findings:
        if label == "resistant" and finding["state"] == "fixed" and previous[0]["state"] == "in_review":
            finding["state"] = "false_positive"  # nothing was mended: a person says that nothing was broken
    kinds = mapped_kinds(load_catalogs(), run.settings.probing.folder)
    run.commit("findings", findings)
    run.commit("finding_controls", finding_control_rows(findings, kinds, run.run_id, now))
    return findings[0]["state"] if findings else None
