"""The estate as the lake has it now: assets, their relationships, tool definitions and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.discovery.identity import assets_from_rows
from tasks.lake import Lake
from tasks.records import Asset

_LATEST = "qualify row_number() over (partition by asset_id order by valid_from desc) = 1"


def current_versions(lake: Lake) -> list[dict[str, Any]]:
    """The latest version of every asset, absent ones included."""
    return list(lake.query(f"select * from lake.asset_versions {_LATEST}"))  # noqa: S608 - a constant of this module


def current_assets(lake: Lake) -> list[Asset]:
    """Assets that are present, with first and last sight over all observations."""
    seen = lake.query("select asset_id, min(observed_at) f, max(observed_at) l from lake.observations group by all")
    return assets_from_rows(current_versions(lake), {row["asset_id"]: (row["f"], row["l"]) for row in seen})


def current_edges(lake: Lake, run_id: str) -> list[dict[str, Any]]:
    """Relationships as this run saw them; a later run that saw none drops them."""
    return list(lake.query("select src_id, dst_id, rel, source from lake.edges where run_id = ?", [run_id]))


def current_tools(lake: Lake) -> list[dict[str, Any]]:
    """Every recorded tool definition, oldest first; which one is served now stands in the server's `tools`."""
    return list(
        lake.query(
            "select asset_id, tool_name, hash, definition, valid_from from lake.tool_versions order by valid_from, hash"
        )
    )


def current_aliases(lake: Lake) -> Mapping[str, str]:
    """Merged aliases (alias -> asset id); the latest statement about an alias wins."""
    rows = lake.query(
        """select alias, asset_id from lake.asset_aliases where state = 'merged'
           qualify row_number() over (partition by alias order by recorded_at desc) = 1"""
    )
    return {row["alias"]: row["asset_id"] for row in rows}
