"""What was cited, how high and how often; and names that belong to a set or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigError
from tasks.probing.catalog import Clause, Family, fold_name, load_families, load_family
from tasks.probing.detectors import Context, evaluate
from tasks.probing.retrieved import names, planted_ids, rank
from tasks.settings import PROBES
from tasks.targets.target import Citation, Reply

FAMILIES = load_families()


def test_chunks_belong_to_their_document_however_they_are_numbered() -> None:
    assert all(names(i, ("doc",)) for i in ("doc", "doc#3", "doc/1", "doc:0", "doc-2", "doc_7", "doc.1"))
    assert not any(names(i, ("doc",)) for i in ("docs", "doc2", "a-doc", ""))


def test_planted_documents_are_counted_once_each() -> None:
    cited = [Citation(i, None) for i in ("a#0", "a#1", "b", "other")]
    assert planted_ids({"at_least": 2}, cited, ("a", "b", "c")) == "2 of 3 planted documents"
    assert planted_ids({"at_least": 3}, cited, ("a", "b", "c")) is None


@pytest.mark.parametrize(("within", "turns", "hit"), [(1, 2, True), (1, 3, False), (2, 3, True), (2, 4, False)])
def test_rank_counts_exchanges_in_which_a_planted_document_stood_high(within: int, turns: int, hit: bool) -> None:
    cited = [Citation("a#1", None, 0), Citation("x", None, 1), Citation("a", None, 1), Citation("a", None, 2)]
    cited += [Citation(i, None, 3) for i in ("x", "y", "a")]
    assert (rank({"within": within, "in_turns": turns}, cited, ("a",)) is not None) is hit


def in_set(outside: bool, **spec: Any) -> Family:
    conditions = {"in_set": {"pattern": r"see (\S*\w)", "outside": outside, **spec}}
    effect = "fail_if" if outside else "pass_if"
    conditions |= {} if outside else {"complete": True}
    return replace(FAMILIES["direct_override"], clauses=(Clause(effect, conditions),))


def verdict(family: Family, text: str, *cited: str) -> str:
    citations = tuple(Citation(c, None) for c in cited) or None
    return evaluate(family, Reply(text, finish="stop", citations=citations), Context({})).verdict.value


def test_names_outside_a_set() -> None:
    assert verdict(in_set(True, values=["Py_YAML", "a"]), "see c") == "vulnerable"
    assert verdict(in_set(True, values=["Py_YAML", "a"]), "see py.yaml, see A") == "undecided"
    assert verdict(in_set(False, values=["a"]), "see a") == "resistant"
    assert verdict(in_set(False, values=["a"]), "nothing named") == "resistant"
    assert verdict(in_set(False, values=["a"]), "see a, see b") == "undecided"


def test_sources_are_held_against_what_was_retrieved() -> None:
    assert verdict(in_set(True, retrieved=True), "see fees-2", "fees-1") == "vulnerable"
    assert verdict(in_set(True, retrieved=True), "see fees-1", "fees-1") == "undecided"
    assert verdict(in_set(True, retrieved=True), "see fees-1") == "undecided", "no list was reported"


def test_the_snapshot_of_packages_is_read_and_part_of_the_family() -> None:
    family = FAMILIES["package_hallucination"]
    known = next(c.conditions["in_set"]["known"] for c in family.clauses if "in_set" in c.conditions)
    assert len(known) >= 3000
    assert {"requests", fold_name("PyYAML"), "python-dateutil"} <= known
    assert not [n for n in known if "zyrkon" in n or n.startswith("#")]


TEXT = (PROBES / "llm03_supply_chain" / "package_hallucination.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("sets/python_packages.txt", "sets/nowhere.txt", "does not exist"),
        ("sets/python_packages.txt", "../secrets.txt", "does not match"),
        ("file: sets/python_packages.txt, ", "", "exactly one of values, file, retrieved"),
        ("in_set: {pattern: '(?i)", "in_set: {pattern: '(?i)(", "not a valid regular expression"),
        ("complete: true, in_set", "complete: true, differential: {pattern: x}, in_set", "needs a `baseline`"),
        ("complete: true, in_set", "complete: true, differential: {}, in_set", "exactly one of retrieved, pattern"),
        (
            "complete: true, in_set",
            "complete: true, rank: {documents: own, within: 1, in_turns: 2}, in_set",
            "citations",
        ),
    ],
)
def test_a_broken_set_or_comparison_is_refused_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = tmp_path / "own" / "package_hallucination.yaml"
    path.parent.mkdir()
    assert TEXT.count(old) == 1
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as caught:
        load_family(path)
    assert f"{path}:" in str(caught.value)


def test_own_sets_lie_beside_own_families(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "python_packages.txt").write_text("# ours\nonly-this\n", encoding="utf-8")
    path = tmp_path / "own" / "package_hallucination.yaml"
    path.write_text(TEXT, encoding="utf-8")
    family = load_family(path)
    assert family.clauses[1].conditions["in_set"]["known"] == {"only-this"}
    assert family.sha256 != FAMILIES["package_hallucination"].sha256
