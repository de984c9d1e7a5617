"""The shipped votes-and-labels matrix: no text, and a consensus that is no worse than its best judge."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench() -> Any:
    path = Path(__file__).resolve().parents[1] / "bench_judges.py"
    spec = importlib.util.spec_from_file_location("bench_judges", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["bench_judges"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_matrix_is_letters_and_numbers_with_attribution(bench: Any) -> None:
    text = bench.MATRIX.read_text()
    assert "CC-BY-4.0" in text.splitlines()[0]
    rows = bench.load_matrix()
    assert Counter(r.model for r in rows) == {"gpt4": 450, "llama2new": 450, "mistralguard": 450}
    assert {x for r in rows for x in r.letters + r.meta} <= set("VRU")


def test_consensus_is_no_worse_than_its_best_judge(bench: Any) -> None:
    """Right among all replies, and right among those it decides; abstentions count as wrong in the first."""
    rows = bench.load_matrix()

    def figures(letters: list[str]) -> tuple[float, float]:
        right = sum(x == ("V" if r.vulnerable else "R") for x, r in zip(letters, rows, strict=True))
        return right / len(rows), right / sum(x != "U" for x in letters)

    judges = [figures([r.letters[i] for r in rows]) for i in range(3)]
    overall, decided = figures([bench.judged(r)[0] for r in rows])
    assert overall >= max(j[0] for j in judges)
    assert decided >= max(j[1] for j in judges)
