"""Posture checks: assets in, one result per asset and built check of its kind out.

`pass fail unknown not_applicable`; what was not read is `unknown`, never a pass. A waiver does not change an outcome:
it is recorded in the evidence, so that the finding becomes `accepted` until the waiver's last day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.assessment.catalog import Check, counts, load_checks
from tasks.assessment.facts import History, facts_of
from tasks.assessment.graph import build
from tasks.assessment.predicates import Predicates, Row
from tasks.discovery.inventory import Inventory, InventoryAsset
from tasks.records import Asset, CheckResult, Outcome, canonical_json

MAX_SHOWN = 300
"""Characters of one fact that evidence shows."""


def assess(
    assets: Sequence[Asset],
    edges: Iterable[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    now: datetime,
    *,
    inventory: Inventory,
    history: Mapping[str, History] | None = None,
) -> list[CheckResult]:
    """Every built check on every asset of its kind, in order of asset and check.

    `edges` and `tools` are rows of the lake tables `edges` (of the run) and `tool_versions` (all). `history` is needed
    for GEN-04 and GEN-06 only, which are `unknown` without it.
    """
    graph = build(assets, edges)
    entries = inventory.by_id
    facts = {
        a.asset_id: facts_of(a, graph, tools, entries.get(str(a.props.get("inventory_id"))), now, history)
        for a in assets
    }
    by_id = {a.asset_id: a for a in assets}
    predicates = Predicates(facts)
    try:
        results = [
            _result(check, row, by_id[row.asset_id], facts[row.asset_id], entries, now)
            for check in load_checks().values()
            for row in predicates.run(check)
        ]
    finally:
        predicates.close()
    return sorted(results, key=lambda r: (r.asset_id, r.check_id))


def check_rows(results: Iterable[CheckResult], run_id: str, now: datetime) -> list[dict[str, Any]]:
    """Rows of the lake table `check_results`."""
    return [
        {
            "run_id": run_id,
            "asset_id": r.asset_id,
            "check_id": r.check_id,
            "outcome": str(r.outcome),
            "severity": str(r.severity),
            "mode": r.mode,
            "reason": r.reason,
            "evidence": canonical_json(dict(r.evidence)),
            "proof_label": str(r.proof_label),
            "dt": now.date(),
        }
        for r in results
    ]


def _result(
    check: Check,
    row: Row,
    asset: Asset,
    facts: Mapping[str, Any],
    entries: Mapping[str, InventoryAsset],
    now: datetime,
) -> CheckResult:
    read = {name: _shown(facts[name]) for name in (*check.needs, *check.optional) if name in facts}
    evidence: dict[str, Any] = {"facts": read}
    if row.missing and row.outcome == Outcome.UNKNOWN:
        evidence["missing"] = row.missing
    entry = entries.get(str(asset.props.get("inventory_id")))
    waiver = entry.waiver(check.id, now.date()) if entry is not None else None
    if waiver is not None:
        evidence["waiver"] = {"until": waiver.until.isoformat(), "reason": waiver.reason, "by": str(waiver.by)}
    return CheckResult(
        asset_id=asset.asset_id,
        check_id=check.id,
        outcome=row.outcome,
        severity=check.severity,
        mode=check.mode,
        reason=_reason(check, row),
        proof_label=asset.proof_label,
        evidence=evidence,
    )


def _reason(check: Check, row: Row) -> str:
    match row.outcome:
        case Outcome.FAIL:
            return f"{check.title}: {check.condition}"
        case Outcome.UNKNOWN:
            if row.missing:
                return f"not read: {', '.join(row.missing)}"
            return "the facts read do not decide it"
        case Outcome.NOT_APPLICABLE:
            return f"applies only where {check.applies}"
        case _:
            return f"read and in order: {', '.join(check.needs)}"


def _shown(value: Any) -> Any:
    """A fact fit for evidence: short, and without floats."""
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, list) and len(value) <= 20:
        return [str(v)[:MAX_SHOWN] for v in value]
    text = value if isinstance(value, str) else canonical_json(value)
    return text[:MAX_SHOWN]


__all__ = ["Check", "History", "assess", "assess_assets", "check_rows", "counts", "load_checks"]
