"""All facts of one asset: what was observed, what follows from its texts, its launch and its relationships."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from json import loads
from typing import Any
from urllib.parse import urlsplit

from tasks.assessment.graph import Graph, graph_facts
from tasks.assessment.mcp_launch import launch_facts
from tasks.assessment.mcp_tools import context_texts, injections, server_facts, tool_facts
from tasks.discovery.identity import config_hash
from tasks.discovery.inventory import InventoryAsset
from tasks.discovery.natural_keys import is_loopback
from tasks.records import Asset, AssetKind

_SECRET = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bxox[abprs]-[\w-]{10,}"
    r"|\bAIza[\w-]{35}|-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
)
_NOT_POSTURE = frozenset({"model", "name", "server_name"})


@dataclass(frozen=True, slots=True)
class History:
    """What earlier runs say about an asset. None = never."""

    last_probed: datetime | None = None
    last_observed: datetime | None = None
    """By a source other than the declaration."""


def facts_of(
    asset: Asset,
    graph: Graph,
    tools: Sequence[Mapping[str, Any]],
    entry: InventoryAsset | None,
    now: datetime,
    history: Mapping[str, History] | None,
) -> dict[str, Any]:
    """Facts by name; a missing name was not read, a null was read and is empty. Holds no secret values."""
    facts: dict[str, Any] = {k: v for k, v in asset.props.items() if not k.startswith("_")}
    facts |= {
        "kind": str(asset.kind),
        "declared": asset.declared,
        "active": asset.active,
        "owner": asset.owner,
        "env": asset.env,
        "exposure": asset.exposure,
        "risk_tier": asset.risk_tier,
        "sources": list(asset.sources),
        "config_hash": config_hash(asset.props),
        "approved_hash": _approved(entry),
        "disputed": sorted(k for k in asset.props.get("_by_source", {}) if k not in _NOT_POSTURE),
        "secret_at": sorted(_secret_places(asset.props)),
        "collection_state": _worst(asset.props.get("collection")),
    }
    facts |= _url_facts(asset.props.get("url"))
    facts |= _history_facts(asset, now, history)
    facts |= graph_facts(graph, asset)
    if isinstance(asset.props.get("launch"), Mapping):
        facts |= launch_facts(asset.props["launch"])
    if asset.kind == AssetKind.TOOL and isinstance(asset.props.get("definition"), Mapping):
        facts |= tool_facts(asset.props["definition"])
    if asset.kind == AssetKind.MCP_SERVER:
        facts |= _server_facts(asset, tools, entry)
    return facts


def _server_facts(asset: Asset, tools: Sequence[Mapping[str, Any]], entry: InventoryAsset | None) -> dict[str, Any]:
    listed = asset.props.get("tools")
    if not isinstance(listed, list):
        return {}
    mine = [row for row in tools if row["asset_id"] == asset.asset_id]
    by_hash = {(row["tool_name"], row["hash"]): row for row in mine}
    served = [(str(t["name"]), str(t["sha256"])) for t in listed]
    definitions = [loads(by_hash[key]["definition"]) for key in served if key in by_hash]
    found: dict[str, Any] = server_facts(definitions)
    if len(definitions) < len(served):
        # Some definitions were not read: what was found counts, what was not found proves nothing.
        found = {k: v for k, v in found.items() if v}
    facts = {**found, "tool_count": len(served)}
    if "instructions" in asset.props:
        facts["context_injections"] = injections(context_texts(asset.props))
    return facts | _pin_facts(served, mine, asset.props.get("tools_sha256"), entry)


def _pin_facts(
    served: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]], digest: Any, entry: InventoryAsset | None
) -> dict[str, Any]:
    """`changed_tools` against the pin or, without one, against the first recorded definition; `unapproved_tools`."""
    pin = dict(entry.pin) if entry is not None else {}
    pinned = {name: str(h).removeprefix("sha256:") for name, h in (pin.get("tools") or {}).items()}
    whole = str(pin["tools_sha256"]).removeprefix("sha256:") if pin.get("tools_sha256") else None
    facts: dict[str, Any] = {}
    if pinned:
        changed = sorted(n for n, h in served if n in pinned and pinned[n] != h)
        facts["unapproved_tools"] = sorted({n for n, _ in served if n not in pinned})
        facts["changed_tools"] = changed
    elif whole is not None:
        facts["changed_tools"] = [] if whole == digest else ["the listing as a whole"]
    else:
        first: dict[str, str] = {}
        for row in sorted(rows, key=lambda r: (r["valid_from"], r["hash"])):
            first.setdefault(row["tool_name"], row["hash"])
        changed = sorted(n for n, h in served if first.get(n, h) != h)
        if changed:
            facts["changed_tools"] = changed
    return facts


def _history_facts(asset: Asset, now: datetime, history: Mapping[str, History] | None) -> dict[str, Any]:
    if history is None:
        return {}
    past = history.get(asset.asset_id, History())
    facts: dict[str, Any] = {"last_probe_days": (now - past.last_probed).days if past.last_probed else None}
    if past.last_observed is not None:
        facts["days_unseen"] = (now - past.last_observed).days
    return facts


def _url_facts(url: Any) -> dict[str, Any]:
    if not isinstance(url, str):
        return {}
    return {"url_scheme": urlsplit(url).scheme.lower(), "url_loopback": is_loopback(url)}


def _approved(entry: InventoryAsset | None) -> str | None:
    value = entry.approvals.get("snapshot") if entry is not None else None
    return str(value).removeprefix("sha256:") if value else None


def _worst(collection: Any) -> str:
    states = set(collection.values()) if isinstance(collection, Mapping) else set()
    return next((state for state in ("error", "denied", "partial") if state in states), "full")


def _secret_places(value: Any, at: str = "") -> set[str]:
    """Paths of values that look like secrets."""
    if isinstance(value, Mapping):
        return {
            p for k, v in value.items() if k != "_by_source" for p in _secret_places(v, f"{at}.{k}" if at else str(k))
        }
    if isinstance(value, list):
        return {p for v in value for p in _secret_places(v, f"{at}[]")}
    return {at} if isinstance(value, str) and _SECRET.search(value) else set()
