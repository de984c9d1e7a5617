"""The linter reproduces every defect seen in the wild and stays silent on our own data."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.mapping.catalog import MAPPINGS
from tasks.mapping.lint import lint_file, words

DEFECTS = MAPPINGS / "lint_fixtures" / "published_defects.csv"


def _rows() -> list[tuple[int, dict[str, str]]]:
    with DEFECTS.open(encoding="utf-8", newline="") as f:
        return list(enumerate(csv.DictReader(f), 2))


def test_the_fixtures_cover_every_rule():
    assert {row["expect"] for _, row in _rows()} == {f"L{n}" for n in range(1, 10)}


@pytest.fixture(scope="module")
def found():
    by_line: dict[int, set[str]] = {}
    for problem in lint_file(DEFECTS):
        by_line.setdefault(problem.line, set()).add(problem.rule)
    return by_line


@pytest.mark.parametrize(("line", "row"), _rows(), ids=lambda v: v["control_key"] if isinstance(v, dict) else str(v))
def test_a_published_defect_is_reported_by_its_rule(found, line, row):
    assert row["expect"] in found.get(line, set())


@pytest.mark.parametrize(
    "name", ["lint_fixtures/correct.csv", "edges.csv", "themes.yaml", "kinds/checks.yaml", "kinds/probes.yaml"]
)
def test_our_own_data_has_no_problem(name):
    assert lint_file(MAPPINGS / name) == []


@pytest.mark.parametrize(
    ("control", "suggestion"),
    [
        ("LLM03", "owasp-llm@2025:LLM03"),
        ("AML.T0019", "mitre-atlas@2026.09:AML.T0115.000"),
        ("mitre-atlas@2026.09:AML.T0104", "mitre-atlas@2026.09:AML.T0115.002"),
        ("nist-sp800-218a@2024-07:PW.4.4-PS", "nist-sp800-218a@2024-07:PW.4.4"),
        ("nist-ai-600-1@2024-07:GV4.3--001", "nist-ai-600-1@2024-07:GV-4.3-001"),
    ],
)
def test_a_repairable_id_comes_with_its_repair(tmp_path: Path, control: str, suggestion: str):
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps([{"control": control}]))
    [problem] = lint_file(file)
    assert problem.suggestion == suggestion
    assert f"write {suggestion}" in str(problem)


def test_a_framework_column_stands_in_for_the_edition(tmp_path: Path):
    file = tmp_path / "mapping.csv"
    file.write_text("framework,id,label\niso-42001@2023,A.6.2.8,Monitoring\nowasp-llm@2026,LLM03,Excessive Agency\n")
    assert [(p.line, p.rule) for p in lint_file(file)] == [(2, "L3")]


def test_the_same_number_means_another_risk_in_another_edition(tmp_path: Path):
    file = tmp_path / "mapping.csv"
    file.write_text("key,label\nowasp-llm@2025:LLM03,Excessive Agency\n")
    [problem] = lint_file(file)
    assert (problem.rule, problem.suggestion) == ("L3", "owasp-llm@2025:LLM06")


def test_yaml_problems_carry_the_line(tmp_path: Path):
    file = tmp_path / "kinds.yaml"
    file.write_text('kinds:\n  check.X:\n    controls:\n      "LLM03": "why"\n')
    assert [(p.line, p.rule) for p in lint_file(file)] == [(4, "L5")]


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "x,y\n1,2\n"), ("a.json", "{"), ("a.txt", "LLM01"), ("b.json", "[]")]
)
def test_a_file_without_a_readable_control_is_an_error_not_a_pass(tmp_path: Path, name: str, text: str):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError):
        lint_file(file)


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigError):
        lint_file(tmp_path / "none.csv")


def test_labels_are_compared_by_stems():
    assert words("Exfiltration via ML Inference API") == {"exfil", "ai", "infer", "api"}
