"""One finished attempt as a row of `probe_attempts`: hashes, evidence and a redacted excerpt, no whole reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.probing.catalog import Family
from tasks.probing.detectors import Finding, canonical_json_or_text
from tasks.probing.plan import Attempt, Batch
from tasks.probing.redaction import excerpt_of, redact
from tasks.records import Asset, ToolCall, canonical_json, digest
from tasks.targets.target import Reply


def attempt_row(
    batch: Batch,
    attempt: Attempt,
    asset: Asset,
    family: Family | None,
    started: datetime,
    reply: Reply,
    finding: Finding,
    values: Mapping[str, str],
    secrets_known: tuple[str, ...],
) -> dict[str, Any]:
    """`values` are the attempt's canaries, `secrets_known` the target's keys, which are taken out of every text."""
    ended = datetime.now(UTC)
    declared = {n for n, kind in family.vars.items() if kind == "training_record"} if family else set()
    canary = {n: v for n, v in values.items() if "." not in n or n.partition(".")[0] in declared}
    return {
        "attempt_id": attempt.attempt_id,
        "campaign_id": batch.campaign_id,
        "run_id": batch.run_id,
        "asset_id": batch.asset_id,
        "family_id": attempt.family_id,
        "family_sha256": attempt.family_sha256,
        "seed_id": attempt.seed_id,
        "template_sha256": attempt.template_sha256,
        "transforms": canonical_json({"applied": list(attempt.transforms), "canary": canary}),
        "trial": attempt.trial,
        "tries": reply.tries,
        "request_sha256": reply.request_sha256 or digest("nothing sent"),
        "response_sha256": reply.response_sha256,
        "excerpt": excerpt_of(reply.text, secrets_known),
        "tool_trace": _trace_json(reply.tool_calls, secrets_known),
        "finish": redact(reply.finish[:64], secrets_known) if reply.finish else None,
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        "cost_micro_usd": None,
        "started_at": started,
        "ended_at": ended,
        "error_kind": finding.error_kind,
        "evidence_kind": finding.evidence_kind,
        "evidence_ref": None if finding.evidence_ref is None else redact(finding.evidence_ref, secrets_known),
        "verdict": finding.verdict.value,
        "rubric": finding.rubric,
        "proof_label": asset.proof_label.value,
        "dt": ended.date(),
    }


def _trace_json(calls: Sequence[ToolCall], secrets_known: tuple[str, ...]) -> str:
    """The trace as stored: at most 32 calls, long texts cut, keys of the target taken out."""
    stored = []
    for call in calls[:32]:
        arguments = redact(canonical_json_or_text(dict(call.arguments))[:4000], secrets_known)
        result = None if call.result is None else redact(call.result[:500], secrets_known)
        stored.append({"name": redact(call.name[:128], secrets_known), "arguments": arguments, "result": result})
    return canonical_json(stored)
