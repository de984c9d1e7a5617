"""The estate as the lake knows it now: assets, edges and tools for the steps that work on them."""

from __future__ import annotations

from typing import Any

from tasks.discovery import assets_from_rows
from tasks.lake import Lake
from tasks.records import Asset


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


def current_tools(lake: Lake) -> list[dict[str, Any]]:
    """The newest definition of every tool of every server."""
    return lake.query(
        """select * from lake.tool_versions
           qualify row_number() over (partition by asset_id, tool_name order by valid_from desc) = 1
           order by asset_id, tool_name"""
    )
