"""The inventory as a source: what the owners say there is. The smallest source, and the one to copy."""

from __future__ import annotations

from typing import Any

from gateway.errors import ConfigError
from gateway.secrets import fingerprint, resolve_secret
from tasks.discovery.inventory import InventoryAsset
from tasks.discovery.source import SourceContext, clean
from tasks.records import Completeness, EdgeRef, Observation, ProofLabel, SourceResult


class Declared:
    name = "declared"
    version = "1"
    needs: tuple[str, ...] = ()

    def collect(self, ctx: SourceContext) -> list[SourceResult]:
        by_id = ctx.inventory.by_id
        observations = tuple(
            Observation(
                source=self.name,
                source_version=self.version,
                kind=asset.kind,
                name=asset.name,
                natural_keys=asset.natural_keys,
                props=_props(asset),
                evidence=f"{ctx.inventory.path.name}:{asset.line}",
                observed_at=ctx.clock(),
                proof_label=ProofLabel.DECLARED,
                edges=tuple(EdgeRef(use.rel, by_id[use.to].kind, "inventory_id", use.to) for use in asset.uses),
            )
            for asset in ctx.inventory.assets
        )
        return [SourceResult(self.name, ctx.inventory.path.name, Completeness.FULL, "", observations)]


def _props(asset: InventoryAsset) -> dict[str, Any]:
    """Facts of the declaration. Fields that are not stated are left out, so that they count as unread."""
    props: dict[str, Any] = dict(asset.props)
    props["inventory_id"] = asset.id
    for name in ("owner", "env", "exposure", "risk_tier"):
        props[name] = getattr(asset, name)
    props["active"] = asset.active
    props["data_sensitivity"] = asset.data.get("sensitivity")
    if "regions" in asset.data:
        props["data_regions"] = asset.data["regions"]
    if asset.url:
        props["url"] = asset.url
    if asset.launch is not None:
        props["launch"] = {
            "package": asset.launch.package,
            "command": list(asset.launch.command),
            "args": list(asset.launch.args),
            "env": sorted(asset.launch.env),
        }
    if isinstance(reference := asset.props.get("credential"), str):
        try:
            props["credential_fingerprint"] = fingerprint(resolve_secret(reference))
        except ConfigError:
            props["credential_fingerprint"] = None
    cleaned: dict[str, Any] = clean(props)
    return cleaned
