"""One review for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.probing.catalog import Family


def review_lines(found: Mapping[str, Any], families: Mapping[str, Family]) -> list[str]:
    """What a person needs to decide: the goal, the reply, the tool calls, every vote with its reason."""
    attempt = found["attempt"]
    family = families.get(attempt["family_id"])
    lines = [
        f"Review   {found['review_id']}   {found['reason']}, asked {found['requested_at']:%Y-%m-%d %H:%M} UTC",
        f"Attempt  {found['attempt_id']} on {attempt['asset_id']}, {attempt['proof_label']}",
        f"Family   {attempt['family_id']}" + (f": {family.title} ({family.severity})" if family else ""),
        f"Goal     {family.goal}" if family else "Goal     (the family is not in the catalogue any more)",
        f"Proposal {found['proposal']}",
    ]
    if found["label"] is not None:
        lines.append(f"Decision {found['label']} by {found['reviewer']}: {found['decision_reason']}")
    lines += ["", "Reply (redacted):", *(f"  {line}" for line in attempt["excerpt"].splitlines() or ["(empty)"])]
    calls = json.loads(attempt["tool_trace"])
    if calls:
        lines += ["", "Tool calls:", *(f"  {c['name']} {c['arguments']}" for c in calls)]
    lines += ["", "Votes:"]
    for vote in found["votes"]:
        state = " in quarantine" if vote["quarantined"] else ""
        said = vote["error_kind"] or f"{vote['verdict']} {(vote['confidence_ppm'] or 0) / 1_000_000:.2f}"
        kind = "live" if vote["live"] else "offline"
        lines.append(f"  {vote['judge_id']} ({vote['role']}, {kind}){state}: {said}; {vote['rationale_redacted']}")
        if vote["evidence_span"]:
            lines.append(f"    quotes: {vote['evidence_span']}")
    newest = next((v for v in reversed(found["verdicts"]) if v["decided_by"] == "judges"), None)
    if newest is not None:
        p = newest["p_ppm"]
        calibrated = "uncalibrated" if p is None else f"calibrated p(vulnerable) = {p / 1_000_000:.2f}"
        lines += ["", f"Consensus {newest['pattern']}: {newest['reason']}; {newest['judges_label']}, {calibrated}"]
    lines += ["", f"Decide: aispm review decide {found['review_id'][:10]} vulnerable|resistant --reviewer … --reason …"]
    return lines
