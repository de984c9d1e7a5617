"""Every finding kind reaches all six frameworks; overlaps are computed, graded and never taken on trust."""

from __future__ import annotations

import csv
import datetime as dt
import json
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.mapping.catalog import GRADES, KEY, MAPPINGS, RELATIONS, SIX, load_catalogs
from tasks.mapping.resolve import (
    Grader,
    counts,
    finding_control_rows,
    kind_control_rows,
    links,
    load_kinds,
    overlap_rows,
    overlaps,
    published_themes,
)
from tasks.mapping.themes import load_themes
from tasks.settings import CONTENT_ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MAPPINGS, tmp_path / "mappings"))


@pytest.fixture(scope="module")
def rows(catalogs, kinds):
    return overlap_rows(catalogs, kinds)


def test_every_check_and_family_has_a_mapping(kinds):
    assert Counter(kind.partition(".")[0] for kind in kinds) == {"check": 278, "probe": 89}


def test_the_mapped_kinds_are_the_catalogued_checks_and_written_families(kinds):
    with (CONTENT_ROOT / "tasks" / "assessment" / "catalog.csv").open(encoding="utf-8", newline="") as f:
        assert {f"check.{row['id']}" for row in csv.DictReader(f)} == {k for k in kinds if k.startswith("check.")}
    families = {f"probe.{path.stem}" for path in (CONTENT_ROOT / "probes").glob("*/*.yaml")}
    assert families <= set(kinds)


def test_every_kind_covers_each_framework_or_says_why_not(kinds):
    for kind in kinds.values():
        for group, parts in SIX.items():
            of_group = [link for link in links(kind) if link.framework in parts]
            with_control = [link for link in of_group if link.relation != "none"]
            without = [link for link in of_group if link.relation == "none"]
            assert bool(with_control) != bool(without), (kind.kind, group)
            assert all(len(link.rationale) > 20 for link in without)


def test_no_link_lacks_grade_rationale_edition_or_hash(catalogs, kinds):
    for kind in kinds.values():
        assert len({link.control_key for link in kind.links}) == len(kind.links)
        for link in kind.links:
            assert KEY.match(link.control_key)
            assert link.catalog_sha256 == catalogs.edition_of(link.control_key).sha256
            assert link.grade in GRADES
            assert link.rationale.strip()
            assert link.relation in (*RELATIONS, "none")


def test_every_control_a_kind_counts_toward_is_one_that_reports_count(catalogs, kinds):
    """But for notes of 218A, which are cited beside the task they belong to."""
    for kind in kinds.values():
        for link in kind.links:
            if link.relation != "none":
                control = catalogs.find(link.control_key)
                assert control.assessable or control.kind == "note"


def test_every_kind_is_projected_onto_the_newer_llm_list(kinds):
    link = {x.control_key: x for x in links(kinds["check.LLE-09"])}
    assert link["owasp-llm@2025:LLM03"].grade == "project"
    assert link["owasp-llm@2026:LLM04"].grade == "derived"
    assert "owasp-llm@2026:LLM03" not in link
    for kind in kinds.values():
        editions = Counter(x.control_key.partition(":")[0] for x in kind.links if x.relation != "none")
        assert editions["owasp-llm@2025"] == editions["owasp-llm@2026"]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("check.MCP-01", "owasp-asi@2026:ASI01"),
        ("check.MCP-01", "mitre-atlas@2026.09:AML.T0051"),
        ("check.APP-02", "eu-ai-act@2026-07-27:Art.50(1)"),
        ("check.GEN-10", "iso-42001@2023:A.6.2.8"),
        ("check.AWS-11", "eu-ai-act@2026-07-27:Art.12(1)"),
        ("check.LLE-01", "owasp-llm@2025:LLM10"),
        ("probe.direct_override", "mitre-atlas@2026.09:AML.T0051.000"),
        ("probe.mcp_tool_shadowing", "mitre-atlas@2026.09:AML.T0115.002"),
        ("probe.over_refusal_benign", "owasp-llm@2025:none"),
    ],
)
def test_expected_edges_are_there(kinds, kind, key):
    assert key in {link.control_key for link in links(kinds[kind])}


def test_no_kind_uses_a_retired_technique(catalogs, kinds):
    used = {link.control_key.partition(":")[2] for kind in kinds.values() for link in kind.links}
    assert not used & set(catalogs.retired)


# -- rows -------------------------------------------------------------------------------------------------------------


def test_rows_for_the_lake_have_unique_keys(kinds):
    rows = kind_control_rows(kinds)
    keys = {(r["finding_kind"], r["control_key"], r["catalog_sha256"], r["edge_id"]) for r in rows}
    assert len(keys) == len(rows) > 4000


def test_findings_are_stamped_with_key_hash_and_time(kinds):
    now = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    findings = [
        {"finding_id": "f1", "finding_kind": "check.GEN-01"},
        {"finding_id": "f2", "finding_kind": "check.GEN-01"},
    ]
    stamped = finding_control_rows(findings, kinds, "r1", now)
    assert len(stamped) == 2 * len(kinds["check.GEN-01"].links)
    assert {r["stamped_at"] for r in stamped} == {now}
    assert {r["control_key"] for r in stamped if r["relation"] == "none"} == {
        "owasp-llm@2025:none", "owasp-asi@2026:none", "mitre-atlas@2026.09:none",
    }  # fmt: skip


def test_a_finding_of_an_unmapped_kind_is_refused(kinds):
    with pytest.raises(ConfigError, match=r"check\.NEW-01"):
        finding_control_rows([{"finding_id": "f", "finding_kind": "check.NEW-01"}], kinds, "r", dt.datetime.now(dt.UTC))


# -- strictness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{themes: [ownership], theme: x}", "unknown key `theme`"),
        ("{themes: [TH99]}", "no theme `TH99`"),
        ('{themes: [ownership], controls: {"LLM03": "because"}}', "owasp-llm@2025:LLM03"),
        ('{themes: [ownership], controls: {"owasp-llm@2025:LLM11": "because"}}', "is not in owasp-llm@2025"),
        ('{themes: [ownership], controls: {"mitre-atlas@2026.09:AML.T0019": "because"}}', "AML.T0115.000"),
        ('{themes: [ownership], controls: {"iso-42001@2023:A.6.2": "because"}}', "is a heading"),
        ('{themes: [ownership], controls: {"eu-ai-act@2026-07-27:Art.10(5)": "because"}}', "was deleted"),
        ('{themes: [ownership], controls: {"owasp-agentic-threats@1.1:T1": "because"}}', "not of one of the six"),
        ('{themes: [ownership], controls: {"owasp-llm@2025:LLM03": ""}}', "must be a sentence"),
        ('{themes: [], controls: {"owasp-llm@2025:LLM03": "because"}}', "no control of owasp-asi"),
        ('{themes: [TH01], none: {owasp-llm: "because"}}', "has controls and a reason for having none"),
        ('{themes: [TH01], none: {owasp: "because"}}', "is not one of the six"),
        ("[TH01]", "must be a mapping"),
    ],
)
def test_a_bad_entry_is_refused_with_path_and_line(copy: Path, entry: str, message: str):
    (copy / "kinds" / "probes.yaml").unlink()
    (copy / "kinds" / "checks.yaml").write_text(f"reviewer: me\nkinds:\n  check.GEN-01: {entry}\n")
    with pytest.raises(ConfigError) as caught:
        load_kinds(load_catalogs(copy))
    assert message in str(caught.value)
    assert "checks.yaml:3: " in str(caught.value)


def test_a_kind_mapped_in_two_files_is_refused(copy: Path):
    for name in ("checks", "probes"):
        text = "reviewer: me\nkinds:\n  check.GEN-01: {themes: [ownership]}\n"
        (copy / "kinds" / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError, match="mapped in another file"):
        load_kinds(load_catalogs(copy))


# -- overlaps ---------------------------------------------------------------------------------------------------------


def test_the_themes_are_sourced_as_far_as_the_review_says(catalogs):
    """Best grade of each of the 21 framework pairs in each of the 30 themes: most are our own judgement, and say so."""
    grader = Grader(catalogs, catalogs.edges)
    best: Counter[str] = Counter()
    for theme in load_themes(catalogs, MAPPINGS).values():
        if theme.profile:
            continue
        cells: dict[str, list[str]] = {}
        for key in theme.keys:
            cells.setdefault(key.partition("@")[0], []).append(key)
        assert len(cells) == 7
        for x, y in combinations(cells, 2):
            best[min((grader.grade(a, b).grade for a in cells[x] for b in cells[y]), key=GRADES.index)] += 1
    assert best == {"official": 30, "third_party": 31, "derived": 81, "project": 488}


@pytest.mark.parametrize(
    ("a", "b", "grade", "via"),
    [
        ("owasp-llm@2025:LLM01", "owasp-asi@2026:ASI01", "official", "exact"),
        ("owasp-asi@2026:ASI01", "owasp-llm@2025:LLM01", "official", "exact"),
        ("nist-ai-600-1@2024-07:MS-2.7-007", "nist-sp800-218a@2024-07:PW.8.2", "derived", "rollup"),
        ("owasp-llm@2025:LLM01", "eu-ai-act@2026-07-27:Art.15(5)", "derived", "rollup"),
        ("owasp-llm@2025:LLM01", "mitre-atlas@2026.09:AML.T0070", "derived", "succession"),
        ("iso-42001@2023:A.6.2.4", "eu-ai-act@2026-07-27:Art.15(5)", "project", "none"),
    ],
)
def test_pairs_are_graded_by_who_states_them(catalogs, a, b, grade, via):
    got = Grader(catalogs, catalogs.edges).grade(a, b)
    assert (got.grade, got.via) == (grade, via)
    assert bool(got.sources) == (grade != "project")


def test_without_the_crosswalk_every_pair_is_our_own_judgement(catalogs, kinds):
    assert {row["grade"] for row in overlaps(catalogs, kinds, ())} == {"project"}


def test_at_least_22_reviewed_overlaps_are_published_and_reproduced(catalogs, kinds, rows):
    published = published_themes(catalogs)
    assert len(published) >= 22
    for theme_id, theme in published.items():
        widest = max(len({k.partition("@")[0] for k in kind.keys() & set(theme.keys)}) for kind in kinds.values())
        assert widest >= 4, theme_id
    assert {row["theme"].partition(" ")[0] for row in rows} == set(published)


def test_each_row_is_a_pair_of_frameworks_with_kinds_behind_it(kinds, rows):
    assert len({row["overlap_id"] for row in rows}) == len(rows) > 1000
    for row in rows:
        assert row["a_key"].partition("@")[0] != row["b_key"].partition("@")[0]
        behind = json.loads(row["kinds"])
        assert behind
        for kind in behind:
            assert {row["a_key"], row["b_key"]} <= kinds[kind].keys()
        assert (row["via"] == "none") == (row["grade"] == "project") == (json.loads(row["sources"]) == [])


def test_a_theme_that_no_kind_reproduces_stops_the_load(catalogs, kinds):
    with pytest.raises(ConfigError, match=r"overlaps\.yaml: overlap TH01 .* touches 0 of 4"):
        overlap_rows(catalogs, {"check.GEN-01": kinds["check.GEN-01"]})


def test_counts_are_taken_from_the_data(catalogs, kinds):
    assert counts(catalogs, kinds) == {
        "frameworks": 6,
        "catalogues": 11,
        "controls": sum(c.assessable for c in catalogs.controls.values()),
        "mapping_edges": sum(r["relation"] != "none" for r in kind_control_rows(kinds)),
        "crosswalk_edges": 775,
        "overlaps": 27,
    }


def test_nothing_put_out_holds_a_bare_id(catalogs, kinds, rows):
    keys = [r["control_key"] for r in kind_control_rows(kinds)]
    keys += [row[side] for row in rows for side in ("a_key", "b_key")]
    keys += [key for edge in catalogs.edges for key in (edge.a_key, edge.b_key)]
    keys += list(catalogs.retired.values())
    assert [key for key in keys if not KEY.match(key)] == []
