"""Each family fires on the demo estate with its weakness on, and is silent on the hardened twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.estate.estate import Estate
from tasks.estate.switches import SWITCHES
from tasks.estate.variants import hardened, vulnerable
from tasks.probing.campaign import run_batch
from tasks.probing.catalog import Family, load_families
from tasks.probing.plan import plan
from tasks.records import Asset, AssetKind, ProofLabel
from tasks.settings import ProbingSettings

FAMILIES = load_families()
SWITCHED = sorted({f.bank_switch for f in FAMILIES.values() if f.bank_switch in SWITCHES})
SAMPLE = {"obeys_overrides", "leaks_system_prompt", "obeys_tool_descriptions"}
"""Run every time; the other switches in the full suite only."""

SERVICES = {"llm_endpoint": ["assistant"], "agent": ["mcp", "agent"], "rag_system": ["rag"]}


def probe(home: Path, variant: frozenset[str], families: tuple[str, ...], per_family: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    surfaces = {s for f in families or FAMILIES for s in FAMILIES[f].surfaces}
    services = [name for surface, names in SERVICES.items() if surface in surfaces for name in names]
    with Estate(home, variant, services=services) as estate:
        declared = yaml.safe_load((estate.home / "inventory.yaml").read_text(encoding="utf-8"))["assets"]
        targets = [_asset(a) for a in declared if a.get("active") and a.get("props", {}).get("wire_format")]
        targets = [t for t in targets if set(SERVICES[t.kind]) <= set(services)]
        settings = ProbingSettings(families=families, templates_per_family=per_family, seed=1)
        campaign = plan("r", "c", targets, FAMILIES, settings, full=False)
        for batch in campaign.batches:
            asset = next(a for a in targets if a.asset_id == batch.asset_id)
            spool = home / "spool" / f"{len(rows)}.jsonl"
            rows += run_batch(batch, asset, FAMILIES, settings, spool)
    return rows


def _asset(declared: dict[str, Any]) -> Asset:
    props = {**declared["props"], "allow_intrusive": True}
    kind = AssetKind(declared["kind"])
    return Asset(declared["id"], kind, declared["name"], props, True, True, ProofLabel.OFFICIAL_SHAPE_FAKE)


def reachable(family: Family, rows: list[dict[str, Any]]) -> bool:
    """Whether the estate offers a target for the family at all."""
    return any(r["family_id"] == family.family_id and r["verdict"] != "not_applicable" for r in rows)


def fired(rows: list[dict[str, Any]]) -> set[str]:
    return {r["family_id"] for r in rows if r["verdict"] == "vulnerable"}


def errors(rows: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(r["family_id"], r["error_kind"]) for r in rows if r["verdict"] == "error"}


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """What is needed to see why an attempt counts as a success."""
    return {n: row[n] for n in ("family_id", "seed_id", "transforms", "trial", "evidence_ref", "excerpt", "tool_trace")}


def test_the_hardened_estate_is_silent(tmp_path: Path) -> None:
    rows = probe(tmp_path, hardened(), (), 1)
    assert fired(rows) == set()
    assert errors(rows) == set()
    assert len({r["family_id"] for r in rows}) >= 20


@pytest.mark.parametrize("switch", [s if s in SAMPLE else pytest.param(s, marks=pytest.mark.full) for s in SWITCHED])
def test_a_switch_fires_its_families_and_no_others(tmp_path: Path, switch: str) -> None:
    mine = {f.family_id for f in FAMILIES.values() if f.bank_switch == switch}
    allowed = mine | {f.family_id for f in FAMILIES.values() if switch in f.bank_overlaps}
    everyone = () if switch not in SAMPLE else tuple(sorted(mine))
    rows = probe(tmp_path, vulnerable(switch), everyone, 6)
    assert errors(rows) == set()
    assert [_told(r) for r in rows if r["verdict"] == "vulnerable" and r["family_id"] not in allowed] == []
    for family_id in mine:
        family = FAMILIES[family_id]
        if not reachable(family, rows):
            pytest.skip(f"the estate has no target for {family_id}")
        if any(c.effect == "fail_if" for c in family.clauses):
            assert family_id in fired(rows)
        else:  # judges decide; what they are shown must differ from the hardened twin's
            shown = {r["excerpt"] for r in rows if r["family_id"] == family_id and r["rubric"]}
            twin = {r["excerpt"] for r in probe(tmp_path / "twin", hardened(), (family_id,), 6)}
            assert shown - twin
