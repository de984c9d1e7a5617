"""Findings: what a run's check results and verdicts mean for the list of things to mend.

A finding is keyed by asset and rule, so it keeps its id over runs. Only a rule that was really evaluated again can
change it: `unknown`, `error` or an attempt not made leaves a finding as it was. It closes when the rule holds or no
longer applies, and when its asset is gone.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.records import Outcome, digest

OPEN = ("open", "triaged", "in_review", "confirmed", "regressed", "accepted")
GONE = "the asset is gone: the sources that saw it read everything and see it no more"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one rule says about one asset in this run."""

    finding_kind: str
    rule_id: str
    asset_id: str
    title: str
    severity: str
    fix: str
    summary: str
    state: str | None
    """The state a failing rule asks for (`open`, `in_review` or `accepted`); None when the rule now holds."""
    hits: int
    trials: int
    evidence: str
    """What the result rests on; only its hash is kept here."""
    proof_label: str

    @property
    def finding_id(self) -> str:
        return digest(self.asset_id, self.rule_id, "")[:32]


def from_check_results(
    rows: Iterable[Mapping[str, Any]], titles: Mapping[str, tuple[str, str]], today: dt.date
) -> list[Evaluation]:
    """Evaluations of the checks that could be answered; `titles` maps a check id to (title, fix).

    A waiver in the row's evidence makes a failing check `accepted` until the day it expires.
    """
    found = []
    for row in rows:
        if row["outcome"] == Outcome.UNKNOWN:
            continue
        title, fix = titles[row["check_id"]]
        waiver = json.loads(row["evidence"]).get("waiver")
        accepted = waiver is not None and str(waiver["until"]) >= today.isoformat()
        summary = row["reason"]
        if accepted:
            summary += f" (accepted by {waiver['by']} until {waiver['until']}: {waiver['reason']})"
        failing = row["outcome"] == Outcome.FAIL
        found.append(
            Evaluation(
                finding_kind=f"check.{row['check_id']}",
                rule_id=row["check_id"],
                asset_id=row["asset_id"],
                title=title,
                severity=row["severity"],
                fix=fix,
                summary=summary,
                state=None if not failing else "accepted" if accepted else "open",
                hits=int(failing),
                trials=1,
                evidence=row["evidence"],
                proof_label=row["proof_label"],
            )
        )
    return found


def from_verdicts(rows: Iterable[Mapping[str, Any]], families: Mapping[str, tuple[str, str, str]]) -> list[Evaluation]:
    """Evaluations of probe families per asset. `families` maps a family id to (title, severity, fix).

    Each row: asset_id, family_id, vulnerable, resistant, review (undecided, with a reviewer asked to confirm
    `vulnerable`), attempts (JSON list of the vulnerable attempt ids), proof_label.
    """
    found = []
    for row in rows:
        decided = row["vulnerable"] + row["resistant"]
        if not decided and not row["review"]:
            continue
        title, severity, fix = families[row["family_id"]]
        state = "open" if row["vulnerable"] else "in_review" if row["review"] else None
        summary = f"{row['vulnerable']} of {decided} decided attempts succeeded"
        if row["review"]:
            summary += f"; {row['review']} more wait for review"
        found.append(
            Evaluation(
                finding_kind=f"probe.{row['family_id']}",
                rule_id=row["family_id"],
                asset_id=row["asset_id"],
                title=title,
                severity=severity,
                fix=fix,
                summary=summary,
                state=state,
                hits=row["vulnerable"],
                trials=decided,
                evidence=row["attempts"],
                proof_label=row["proof_label"],
            )
        )
    return found


def of_gone_assets(previous: Iterable[Mapping[str, Any]], gone: Collection[str]) -> list[Evaluation]:
    """Evaluations that close what is still open on assets that are no longer there. `previous` are `findings` rows."""
    return [
        Evaluation(
            finding_kind=row["finding_kind"],
            rule_id=row["rule_id"],
            asset_id=row["asset_id"],
            title=row["title"],
            severity=row["severity"],
            fix=row["fix"],
            summary=GONE,
            state=None,
            hits=0,
            trials=0,
            evidence=GONE,
            proof_label=row["proof_label"],
        )
        for row in previous
        if row["asset_id"] in gone and row["state"] in OPEN
    ]


def finding_rows(
    evaluations: Iterable[Evaluation], previous: Mapping[str, Mapping[str, Any]], run_id: str, now: dt.datetime
) -> list[dict[str, Any]]:
    """Rows for `findings`. `previous` maps a finding id to its newest row."""
    rows = []
    for evaluation in evaluations:
        old = previous.get(evaluation.finding_id)
        before = old["state"] if old else None
        if before == "false_positive" and evaluation.finding_kind.startswith("probe."):
            before = None if evaluation.state else before  # a label is about old attempts, new ones are new evidence
        state = _next_state(evaluation.state, before)
        if state is None:
            continue
        rows.append(
            {
                "finding_id": evaluation.finding_id,
                "seq": (old["seq"] if old else 0) + 1,
                "run_id": run_id,
                "asset_id": evaluation.asset_id,
                "finding_kind": evaluation.finding_kind,
                "rule_id": evaluation.rule_id,
                "title": evaluation.title,
                "severity": evaluation.severity,
                "state": state,
                "locator": "",
                "summary": evaluation.summary,
                "fix": evaluation.fix,
                "hits": evaluation.hits,
                "trials": evaluation.trials,
                "evidence_sha256": digest(evaluation.evidence),
                "discovered_at": old["discovered_at"] if old else now,
                "evaluated_at": now,
                "proof_label": evaluation.proof_label,
            }
        )
    return rows


def _next_state(wanted: str | None, old: str | None) -> str | None:
    """The state machine: None = no row, because nothing was ever found."""
    if wanted is None:
        return None if old is None else "false_positive" if old == "false_positive" else "fixed"
    if old is None or wanted == "accepted":
        return wanted
    if old == "fixed":
        return "regressed"
    if old == "accepted":  # the waiver ran out or was withdrawn
        return wanted
    if old == "in_review" and wanted == "open":
        return "confirmed"
    return old
