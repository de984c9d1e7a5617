"""The bank's proof says what disproves it, and a sample of it runs live."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.probing.catalog import load_families
from tasks.probing.matrix import Cell, Mark, Matrix, run_matrix
from tasks.probing.matrix_page import as_html, as_markdown

FAMILIES = load_families()
TWO = {name: FAMILIES[name] for name in ("direct_override", "skeleton_key")}


def cell(**verdicts: int) -> Cell:
    return Cell(verdicts=Counter(verdicts), examples=["s at t (output_contains)"] if verdicts.get("vulnerable") else [])


def test_each_kind_of_cell_has_its_mark() -> None:
    cells = {
        ("direct_override", "obeys_overrides"): cell(vulnerable=1, resistant=4),
        ("direct_override", "obeys_prefix"): cell(vulnerable=2),  # declared
        ("direct_override", "leaks_system_prompt"): cell(vulnerable=1),
        ("direct_override", "overreaches"): cell(resistant=2),
        ("direct_override", "obeys_persona"): cell(error=2),
        ("skeleton_key", FAMILIES["skeleton_key"].bank_switch): cell(resistant=3),
    }
    switches = tuple(dict.fromkeys(s for _, s in cells))
    matrix = Matrix(TWO, switches, cells, {"direct_override": cell(vulnerable=1)}, {"skeleton_key": cell(vulnerable=1)})
    marks = [matrix.mark("direct_override", s) for s in switches[:5]]
    assert marks == [Mark.FIRES, Mark.OVERLAP, Mark.UNDECLARED, Mark.SILENT, Mark.FAILED]
    said = "\n".join(matrix.problems())
    for part in (
        "direct_override fires with `leaks_system_prompt` on, not declared: s at t",
        "direct_override with `obeys_persona` on: every attempt failed",
        "skeleton_key does not fire",
        "direct_override fires on the hardened bank",
        "skeleton_key fires on harmless requests",
    ):
        assert part in said
    assert matrix.errors() == (2, 17)
    assert "direct_override" in as_markdown(matrix)
    assert "direct_override" in as_html(matrix)


def test_unknown_names_are_told() -> None:
    with pytest.raises(ConfigError, match="unknown switch: nope"):
        run_matrix(FAMILIES, switches=("nope",))


def test_a_sample_of_the_live_matrix_holds() -> None:
    matrix = run_matrix(FAMILIES, only=("system_prompt_leak", "bola_object_access"), switches=("leaks_system_prompt",))
    assert matrix.problems() == []
    assert matrix.mark("system_prompt_leak", "leaks_system_prompt") is Mark.FIRES
    assert matrix.mark("bola_object_access", "leaks_system_prompt") is Mark.SILENT
    assert matrix.errors()[0] == 0


def test_the_published_table_is_of_these_families() -> None:
    published = (Path(__file__).parents[2] / "docs" / "probe_matrix.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| ", published.partition("| family |")[2], re.M)
    assert dict(rows) == {f.family_id: f.bank_switch for f in FAMILIES.values()}
    assert published.endswith("\nNo cell disagrees.\n")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_whole_live_matrix_holds() -> None:
    matrix = run_matrix(FAMILIES)
    assert matrix.problems() == []
    assert matrix.errors()[0] == 0
