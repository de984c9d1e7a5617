"""What judging sent and spent, read back from the votes: the egress manifest, and what a resumed run has left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tasks.judging.self_vendor import maker_of_model
from tasks.lake import Lake
from tasks.records import canonical_json, digest
from tasks.targets.budget import Amount


def manifest(lake: Lake, run_id: str, mode: str) -> list[dict[str, Any]]:
    """What went to whom: provider, host and model with their requests and bytes of request bodies, under `mode`.

    Test cases and repeated requests are in it; empty when nothing left.
    """
    rows = lake.query(
        """select provider, egress_host as host, model, sum(egress_requests)::BIGINT as requests,
                  sum(egress_bytes)::BIGINT as bytes
           from lake.judge_votes where run_id = ? and egress_host is not null
           group by all order by provider, host, model""",
        [run_id],
    )
    return [{**row, "redaction": mode} for row in rows]


def egress_rows(entries: Iterable[Mapping[str, Any]], *, run_id: str, made_at: datetime) -> list[dict[str, Any]]:
    """Rows of `evidence`, one per entry of the manifest."""
    rows = []
    for i, entry in enumerate(entries):
        detail = canonical_json(dict(entry))
        rows.append(
            {
                "run_id": run_id,
                "kind": "egress",
                "table_name": "judge_votes",
                "position": i,
                "sha256": digest(detail),
                "detail": detail,
                "made_at": made_at,
            }
        )
    return rows


def spent_in(lake: Lake, run_id: str) -> Amount:
    """What the run's stored votes have cost, so that a resumed run does not start its budget anew."""
    row = lake.query(
        """select coalesce(sum(egress_requests), 0)::BIGINT as requests,
                  coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0)::BIGINT as tokens,
                  coalesce(sum(cost_micro_usd), 0)::BIGINT as micro_usd
           from lake.judge_votes where run_id = ?""",
        [run_id],
    )[0]
    return Amount(row["requests"], row["tokens"], row["micro_usd"])


def makers_under_test(lake: Lake, attempts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Attempt id -> whose model answered, for assets whose properties name a model that tells."""
    rows = lake.query(
        """select asset_id, max_by(coalesce(props->>'$.model', name), valid_from) as model
           from lake.asset_versions group by asset_id"""
    )
    makers = {row["asset_id"]: maker for row in rows if (maker := maker_of_model(row["model"] or ""))}
    return {a["attempt_id"]: makers[a["asset_id"]] for a in attempts if a["asset_id"] in makers}
