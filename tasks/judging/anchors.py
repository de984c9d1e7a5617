"""From the lake to what judging needs to know beforehand: human labels, calibrations, who is quarantined."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from tasks.judging.calibration import Anchor, Calibration, fit, load_calibration
from tasks.judging.health import QUARANTINED, Health
from tasks.judging.offline import Panel
from tasks.lake import Lake


def judge_set(panel: Panel, rubric_sha256: str) -> str:
    """Hash over the judges, their versions (models and prompts) and the rubric: another set voids a calibration."""
    names = sorted(f"{j.spec.name}@{j.spec.version}" for j in panel.judges)
    return sha256("\n".join([*names, rubric_sha256]).encode()).hexdigest()


def read_anchors(lake: Lake, panel: Panel) -> dict[str, list[Anchor]]:
    """Attempts with a human label that this very judge set has voted on, by sha256 of the rubric.

    The newest label of an attempt counts, and of each judge the newest valid vote. Families that share a rubric form
    one group.
    """
    versions = {j.spec.name: j.spec.version for j in panel.judges}
    rows = lake.query(
        """with labels as (
               select attempt_id, label from lake.reviews where label is not null
               qualify row_number() over (partition by attempt_id order by labelled_at desc, review_id desc) = 1
           )
           select v.attempt_id, v.judge_id, v.judge_version, v.rubric_sha256, upper(v.verdict[1]) as letter, l.label
           from lake.judge_votes v join labels l using (attempt_id)
           where v.role = 'judge' and coalesce(v.purpose, 'case') = 'case' and not coalesce(v.quarantined, false)
             and v.error_kind is null and v.verdict in ('vulnerable', 'resistant', 'undecided')
           qualify row_number() over (
               partition by v.attempt_id, v.judge_id order by v.voted_at desc, v.repeat desc
           ) = 1
           order by v.attempt_id, v.judge_id"""
    )
    letters: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        if versions.get(row["judge_id"]) == row["judge_version"]:
            key = (row["rubric_sha256"], row["attempt_id"], row["label"])
            letters.setdefault(key, {})[row["judge_id"]] = row["letter"]
    found: dict[str, list[Anchor]] = {}
    for (rubric, attempt, label), said in letters.items():
        found.setdefault(rubric, []).append(Anchor(attempt, said, label == "vulnerable"))
    return found


def fit_calibrations(lake: Lake, panel: Panel, alpha: float) -> dict[str, Calibration]:
    """A calibration for every rubric with enough anchors, by sha256 of the rubric."""
    fitted = {
        rubric: fit(anchors, judge_set=judge_set(panel, rubric), rubric_sha256=rubric, alpha=alpha)
        for rubric, anchors in read_anchors(lake, panel).items()
    }
    return {rubric: calibration for rubric, calibration in fitted.items() if calibration is not None}


def stored_calibrations(lake: Lake, run_id: str) -> dict[str, Calibration]:
    """The calibrations that a run works under, by sha256 of the rubric."""
    rows = lake.query("select detail from lake.evidence where kind = 'calibration' and run_id = ?", [run_id])
    return {c.rubric_sha256: c for c in (load_calibration(row["detail"]) for row in rows)}


def calibration_rows(calibrations: Mapping[str, Calibration], run_id: str) -> list[dict[str, Any]]:
    """Rows of `evidence`: verdicts name the calibration by its sha256, and the replay reads it there."""
    return [
        {
            "run_id": run_id,
            "kind": "calibration",
            "table_name": rubric,
            "position": 0,
            "sha256": calibration.sha256,
            "detail": calibration.document,
            "made_at": datetime.now(UTC),
        }
        for rubric, calibration in sorted(calibrations.items())
    ]


def read_quarantined(lake: Lake, panel: Panel) -> dict[str, Health]:
    """Judges of this panel that failed a health test and were not released since, by judge id.

    Only a person releases: a window that goes well changes nothing, another version of the judge starts anew.
    """
    rows = lake.query(
        """select detail from lake.evidence
           where kind = 'judge_health' and (detail::json ->> 'state') in ('quarantined', 'released')
           qualify row_number() over (
               partition by table_name, detail::json ->> 'judge_version' order by made_at desc, position desc
           ) = 1"""
    )
    versions = {j.spec.name: j.spec.version for j in panel.judges}
    newest = [Health(**json.loads(row["detail"])) for row in rows]
    return {h.judge_id: h for h in newest if h.state == QUARANTINED and versions.get(h.judge_id) == h.judge_version}
