"""The estate as the lake knows it now: assets, edges and tools for the steps that work on them."""

from __future__ import annotations

from typing import Any

from tasks.assessment.facts import History
from tasks.discovery import assets_from_rows
from tasks.lake import Lake
from tasks.records import Asset

VERDICTS_IN_FORCE = """select * from lake.verdicts
    qualify row_number() over (
        partition by attempt_id
        order by case decided_by when 'human' then 0 when 'judges' then 1 else 2 end,
                 decided_at desc, method_version desc
    ) = 1"""
"""One row per attempt that a method decided: human before judges before evidence, then the newest, as in the view
`int_adjudicated`."""

WHOLE_CAMPAIGN = """select attempt_id from lake.probe_attempts
    where run_id <= $1 and campaign_id in (select campaign_id from lake.probe_attempts where run_id = $1)"""
"""The attempts of run `$1` and of the earlier ones whose campaign it goes on with."""


def latest_versions(lake: Lake) -> list[dict[str, Any]]:
    """The newest `asset_versions` row of every asset, absent ones included."""
    return lake.query(
        """select * from lake.asset_versions
           qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
           order by asset_id"""
    )


def merged_aliases(lake: Lake) -> dict[str, str]:
    """Ids that older evidence may carry, with the asset they belong to now."""
    rows = lake.query("select alias, asset_id from lake.asset_aliases where state = 'merged' order by recorded_at")
    return {row["alias"]: row["asset_id"] for row in rows}


def current_assets(lake: Lake) -> list[Asset]:
    """All present assets with first and last sight."""
    seen = lake.query("select asset_id, min(observed_at) as a, max(observed_at) as b from lake.observations group by 1")
    return assets_from_rows(latest_versions(lake), {row["asset_id"]: (row["a"], row["b"]) for row in seen})


def current_edges(lake: Lake, run_id: str) -> list[dict[str, Any]]:
    """Relationships seen in this run."""
    return lake.query("select * from lake.edges where run_id = ? order by src_id, rel, dst_id", [run_id])


def tool_versions(lake: Lake) -> list[dict[str, Any]]:
    """Every definition ever seen of every tool of every server: a change of a known tool shows only against the old."""
    return lake.query("select * from lake.tool_versions order by asset_id, tool_name, valid_from")


def histories(lake: Lake) -> dict[str, History]:
    """When each asset was last probed, and last seen by anything but its declaration."""
    rows = lake.query(
        """select coalesce(p.asset_id, o.asset_id) as asset_id, p.last_probed, o.last_observed
           from (select asset_id, max(ended_at) as last_probed from lake.probe_attempts
                 where verdict not in ('not_applicable', 'error') group by 1) p
           full join (select asset_id, max(observed_at) as last_observed from lake.observations
                      where source <> 'declared' group by 1) o using (asset_id)"""
    )
    return {row["asset_id"]: History(row["last_probed"], row["last_observed"]) for row in rows}
