"""The ids of all probe families against the catalogues: none retired, every risk of both OWASP lists covered."""

from __future__ import annotations

import csv
import re

import pytest

from tasks.mapping.catalog import MAPPINGS
from tasks.mapping.resolve import links
from tasks.probing.catalog import load_families

ATLAS = "mitre-atlas@2026.09"
FAMILIES = load_families()


@pytest.fixture(scope="module")
def retired() -> dict[str, str]:
    """Retired or moved ATLAS id -> what took its place."""
    with (MAPPINGS / "catalogs" / "mitre_atlas_id_history.csv").open(encoding="utf-8", newline="") as f:
        rows = [row for row in csv.DictReader(f) if row["change"] == "retired"]
    return {row["old_key"].partition(":")[2]: row["control_key"].partition(":")[2] for row in rows}


def controls_of(kind) -> set[str]:
    return {link.control_key for link in links(kind) if link.relation != "none"}


def probe_kinds(kinds):
    return {name: kind for name, kind in kinds.items() if name.startswith("probe.")}


def test_every_control_of_the_89_families_exists_and_none_is_retired(catalogs, kinds, retired):
    assert retired["AML.T0104"] == "AML.T0115.002"
    mapped = probe_kinds(kinds)
    assert len(mapped) == 89
    for name, kind in mapped.items():
        keys = controls_of(kind)
        assert keys, name
        assert keys <= set(catalogs.controls), name
        assert not {k for k in keys if k.startswith("mitre-atlas@") and k.partition(":")[2] in retired}, name


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.family_id)
def test_the_ids_that_a_family_refers_to_exist(catalogs, retired, family):
    references = " ".join(family.references)
    atlas = set(re.findall(r"AML\.T[\d.]*\d", references))
    assert family.references or family.control_group, "a family names what it goes back to"
    assert not atlas & set(retired)
    assert {f"{ATLAS}:{i}" for i in atlas} <= set(catalogs.controls)
    llm, asi = re.findall(r"LLM\d\d(?=:2025)", references), re.findall(r"ASI\d\d(?=:2026)", references)
    assert {f"owasp-llm@2025:{i}" for i in llm} <= set(catalogs.controls)
    assert {f"owasp-asi@2026:{i}" for i in asi} <= set(catalogs.controls)


@pytest.mark.parametrize(("framework", "prefix"), [("owasp-llm@2025", "LLM"), ("owasp-asi@2026", "ASI")])
def test_every_risk_of_the_list_has_a_written_family(kinds, framework, prefix):
    covered = {key for name in FAMILIES for key in controls_of(kinds[f"probe.{name}"])}
    assert {f"{framework}:{prefix}{n:02}" for n in range(1, 11)} <= covered
