"""Catalogues: the published counts, unbroken references, and a refusal of every altered byte."""

from __future__ import annotations

import datetime as dt
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tasks.errors import ConfigError, VerificationError
from tasks.mapping.catalog import KEY, MAPPINGS, SIX, control_rows, load_catalogs, repaired

COUNTS = {
    "owasp-llm@2023": {"risk": 10},
    "owasp-llm@2025": {"risk": 10},
    "owasp-llm@2026": {"risk": 10},
    "owasp-asi@2026": {"risk": 10},
    "owasp-agentic-threats@1.1": {"threat": 17},
    "nist-ai-600-1@2024-07": {"action": 212, "subcategory": 49, "gai_risk": 12},
    "nist-ai-rmf@2023-01": {"function": 4, "category": 19, "subcategory": 72},
    "nist-sp800-218a@2024-07": {
        "practice_group": 4, "practice": 20, "task": 48, "recommendation": 59, "consideration": 16, "note": 11,
    },
    "mitre-atlas@2026.09": {"tactic": 16, "technique": 120, "sub_technique": 88, "mitigation": 40},
    "eu-ai-act@2026-07-27": {
        "article": 33, "paragraph": 147, "point": 109, "subpoint": 9, "annex": 1, "annex_point": 9,
        "annex_subpoint": 16,
    },
    "iso-42001@2023": {"control": 38, "objective": 11, "clause": 39},
}  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MAPPINGS, tmp_path / "mappings"))


def test_the_catalogues_hold_what_was_published(catalogs):
    held: dict[str, Counter[str]] = {}
    for control in catalogs.controls.values():
        held.setdefault(f"{control.framework}@{control.version}", Counter())[control.kind] += 1
    assert held == COUNTS
    assert len(catalogs.controls) == 1259


def test_assessable_controls_are_of_the_six_and_no_headings(catalogs):
    counted = Counter(c.framework for c in catalogs.controls.values() if c.assessable)
    assert set(counted) == {part for parts in SIX.values() for part in parts}
    assert counted == {
        "owasp-llm": 20, "owasp-asi": 10, "nist-ai-600-1": 212, "nist-sp800-218a": 123, "mitre-atlas": 248,
        "eu-ai-act": 292, "iso-42001": 38,
    }  # fmt: skip


def test_every_key_names_its_edition_and_every_reference_exists(catalogs):
    for control in catalogs.controls.values():
        assert KEY.match(control.key)
        assert control.parent_key is None or control.parent_key in catalogs.controls
    for edge in catalogs.edges:
        assert edge.a_key in catalogs.controls
        assert edge.b_key in catalogs.controls
    for retired, successor in catalogs.retired.items():
        assert successor in catalogs.controls
        assert retired != catalogs.controls[successor].control_id


def test_the_crosswalk_is_complete_and_graded(catalogs):
    assert Counter(e.grade for e in catalogs.edges) == {"official": 330, "third_party": 221, "derived": 224}
    assert len({e.edge_id for e in catalogs.edges}) == 775


@pytest.mark.parametrize(
    ("control_id", "annex_iii", "annex_i"),
    [
        ("Art.15(5)", dt.date(2027, 12, 2), dt.date(2028, 8, 2)),
        ("Art.4", dt.date(2025, 2, 2), dt.date(2025, 2, 2)),
        ("Art.4a", dt.date(2026, 7, 27), dt.date(2026, 7, 27)),
        ("Art.50(1)", dt.date(2026, 8, 2), dt.date(2026, 8, 2)),
        ("Art.53(1)", dt.date(2025, 8, 2), dt.date(2025, 8, 2)),
    ],
)
def test_eu_dates_are_those_after_the_amendment(catalogs, control_id, annex_iii, annex_i):
    control = catalogs.find(f"eu-ai-act@2026-07-27:{control_id}")
    assert (control.applies_from, control.applies_from_annex_i) == (annex_iii, annex_i)


def test_no_high_risk_duty_applies_before_december_2027(catalogs):
    for control in catalogs.controls.values():
        if control.framework == "eu-ai-act":
            assert control.applies_from is not None
            number = control.control_id.removeprefix("Art.").partition("(")[0]
            if number.isdigit() and 6 <= int(number) <= 27:
                assert control.applies_from >= dt.date(2027, 12, 2)


def test_a_deleted_paragraph_is_neither_counted_nor_lost(catalogs):
    control = catalogs.controls["eu-ai-act@2026-07-27:Art.10(5)"]
    assert not control.assessable
    assert control.superseded_by == "eu-ai-act@2026-07-27:Art.4a"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("LLM03", "owasp-llm@2025:LLM03"),
        ("Art. 15(5)", "eu-ai-act@2026-07-27:Art.15(5)"),
        ("AML.T0019", "mitre-atlas@2026.09:AML.T0115.000"),
        ("mitre-atlas@2026.09:AML.T0058", "mitre-atlas@2026.09:AML.T0115.001"),
        ("owasp-llm@2024:LLM01", "there is no catalogue owasp-llm@2024"),
        ("nist-ai-600-1@2024-07:GV4.3--001", "did you mean nist-ai-600-1@2024-07:GV-4.3-001"),
        ("iso-42001@2023:A.6.3.2", "is not in iso-42001@2023"),
        ("", "names no edition"),
    ],
)
def test_a_key_that_is_not_one_is_refused_with_what_to_write(catalogs, key, hint):
    with pytest.raises(ConfigError) as caught:
        catalogs.find(key)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("printed", "written"),
    [
        ("MS 2.7", "MEASURE2.7"),
        ("GV4.3--001", "GV-4.3-001"),
        ("ms-2.7-7", "MS-2.7-007"),
        ("Article 15(5)", "Art.15(5)"),
        ("LLM1", "LLM01"),
        ("AML.T0051.000", "AML.T0051.000"),
    ],
)
def test_printed_variants_are_spelt_as_the_catalogue_does(printed, written):
    assert repaired(printed) == written


@pytest.mark.parametrize(
    "name", ["catalogs/iso_42001_2023.csv", "catalogs/eu_ai_act_dates_2026-07-27.csv", "edges.csv"]
)
def test_one_changed_byte_is_refused_by_name(copy: Path, name: str):
    raw = bytearray((copy / name).read_bytes())
    raw[-3] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(VerificationError, match=Path(name).name):
        load_catalogs(copy)


def test_a_missing_catalogue_is_refused_by_name(copy: Path):
    (copy / "catalogs" / "owasp_asi_2026.csv").unlink()
    with pytest.raises(ConfigError, match=r"owasp_asi_2026\.csv"):
        load_catalogs(copy)


def test_the_set_has_a_name_for_the_catalogues_and_one_for_the_mappings(copy: Path, catalogs):
    file = copy / "kinds" / "checks.yaml"
    file.write_text(file.read_text() + "# reviewed\n")
    changed = load_catalogs(copy)
    assert changed.sha256 == catalogs.sha256
    assert changed.mappings_sha256 != catalogs.mappings_sha256


def test_every_catalogue_states_where_it_is_from(catalogs):
    for edition in catalogs.editions.values():
        assert edition.url.startswith("https://")
        assert edition.licence
        assert edition.publisher
    assert catalogs.editions["mitre-atlas@2026.09"].status == "provisional"


def test_control_rows_carry_the_hash_of_their_edition(catalogs):
    rows = control_rows(catalogs, "r1")
    assert len(rows) == len({row["control_key"] for row in rows}) == 1259
    for row in rows:
        edition = f"{row['framework']}@{row['version']}"
        assert row["catalog_sha256"] == catalogs.editions[edition].sha256
        assert row["control_key"] == f"{edition}:{row['control_id']}"
