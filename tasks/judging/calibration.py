"""How far a pattern of votes is trusted, learned from rows that people labelled.

p(vulnerable | votes) = (n1 + K p_NB) / (n + K): the pattern's own share among the anchors, drawn towards naive Bayes
over the judges' confusion matrices where anchors are few. The threshold on max(p, 1 - p) is chosen on the other half
of the anchors by learn-then-test (Angelopoulos et al., 2021): from strict to loose, each candidate is accepted while
the Clopper-Pearson upper bound of its error stays at or below alpha, and the walk ends at the first that does not.

The promise, "at most alpha of the automatic verdicts are wrong, with 90 % confidence in the anchors drawn", holds for
rows like the anchors; another target's manner voids it. Below `LEAST_ANCHORS` a judge set stays uncalibrated.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import product
from typing import Any

from tasks.judging.consensus import Calibrated, counts_as_vote, letter
from tasks.records import Vote, canonical_json

SCHEMA = "aispm.calibration/1"
LEAST_ANCHORS = 400
SHRINKAGE = 5
DELTA = 0.10
"""One minus the confidence of the Clopper-Pearson upper bound."""
STRICTEST_ROWS = 30
"""The walk starts at the strictest threshold with as many rows; they are counted without looking at labels."""
INFEASIBLE = 1_000_001
"""As lambda: no threshold holds the bound, so every row goes to a human."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One attempt with a human label."""

    attempt_id: str
    letters: Mapping[str, str]
    """Judge id to V, R or U; a judge without a valid vote is left out."""
    vulnerable: bool


@dataclass(frozen=True)
class Calibration:
    """One judge set on one rubric. Whole numbers only, so that the document can be hashed, signed and replayed."""

    judge_set: str
    """Hash over the judges, their versions and the rubric."""
    rubric_sha256: str
    anchors: int
    alpha_ppm: int
    lambda_ppm: int
    p_ppm: Mapping[str, int]
    """Probability of `vulnerable` by pattern, see `pattern_of`."""

    @cached_property
    def document(self) -> str:
        """Canonical JSON, as kept in `evidence`."""
        return canonical_json({
            "schema": SCHEMA,
            "judge_set": self.judge_set,
            "rubric_sha256": self.rubric_sha256,
            "anchors": self.anchors,
            "alpha_ppm": self.alpha_ppm,
            "lambda_ppm": self.lambda_ppm,
            "p_ppm": dict(self.p_ppm),
        })  # fmt: skip

    @cached_property
    def sha256(self) -> str:
        return sha256(self.document.encode()).hexdigest()

    def of(self, votes: Iterable[Vote]) -> Calibrated:
        """What it says of one attempt's votes."""
        pattern = pattern_of({v.judge_id: letter(v) for v in votes if v.purpose == "case" and counts_as_vote(v)})
        return Calibrated(self.p_ppm.get(pattern, 500_000), self.lambda_ppm, self.sha256)


def load_calibration(document: str) -> Calibration:
    """A stored document. Raises ValueError when it is of another schema."""
    data: dict[str, Any] = json.loads(document)
    if data.pop("schema", None) != SCHEMA:
        raise ValueError(f"not a {SCHEMA} document")
    return Calibration(**data)


def pattern_of(letters: Mapping[str, str]) -> str:
    """`lexical=V rule=R`: valid votes in order of judge id, so that a missing judge simply is not named."""
    return " ".join(f"{judge}={said}" for judge, said in sorted(letters.items()))


def fit(
    anchors: Sequence[Anchor], *, judge_set: str, rubric_sha256: str, alpha: float, least: int = LEAST_ANCHORS
) -> Calibration | None:
    """A calibration from `anchors`, or None below `least`. `alpha`, 0..1, bounds the error of automatic verdicts.

    The halves are drawn by hash of the attempt id: the same anchors give the same calibration.
    """
    if len(anchors) < least:
        return None
    ordered = sorted(anchors, key=lambda a: sha256(a.attempt_id.encode()).digest())
    half = len(ordered) // 2
    table = fit_table(ordered[:half])
    chosen = choose_threshold(
        [(table.get(pattern_of(a.letters), 500_000), a.vulnerable) for a in ordered[half:]], alpha
    )
    return Calibration(judge_set, rubric_sha256, len(anchors), round(alpha * 1_000_000), chosen, table)


def fit_table(anchors: Sequence[Anchor]) -> dict[str, int]:
    """Probability of `vulnerable` in millionths for every pattern that the judges of `anchors` can show."""
    judges = sorted({judge for a in anchors for judge in a.letters})
    said = Counter((judge, what, a.vulnerable) for a in anchors for judge, what in a.letters.items())
    seen = Counter((pattern_of(a.letters), a.vulnerable) for a in anchors)
    positive = sum(a.vulnerable for a in anchors)
    prior = math.log((positive + 1) / (len(anchors) - positive + 1))
    total = {(j, truth): sum(said[j, what, truth] for what in "VRU") for j in judges for truth in (True, False)}
    table = {}
    for letters in product("VRU.", repeat=len(judges)):
        votes = {j: what for j, what in zip(judges, letters, strict=True) if what != "."}
        odds = prior
        for judge, what in votes.items():
            odds += math.log((said[judge, what, True] + 1) / (total[judge, True] + 3))
            odds -= math.log((said[judge, what, False] + 1) / (total[judge, False] + 3))
        naive = 1 / (1 + math.exp(-odds))
        pattern = pattern_of(votes)
        hits, n = seen[pattern, True], seen[pattern, True] + seen[pattern, False]
        table[pattern] = round((hits + SHRINKAGE * naive) / (n + SHRINKAGE) * 1_000_000)
    return table


def choose_threshold(rows: Sequence[tuple[int, bool]], alpha: float) -> int:
    """Least max(p, 1 - p), millionths, whose error is bounded by `alpha`; `INFEASIBLE` when none is.

    `rows` are (p in millionths, truth) of anchors that the table has not seen.
    """
    by_confidence: dict[int, list[bool]] = {}
    for p, truth in rows:
        by_confidence.setdefault(max(p, 1_000_000 - p), []).append((p >= 500_000) != truth)
    chosen, n, wrong = INFEASIBLE, 0, 0
    for confidence in sorted(by_confidence, reverse=True):
        n += len(by_confidence[confidence])
        wrong += sum(by_confidence[confidence])
        if n < STRICTEST_ROWS:
            continue
        if upper_bound(wrong, n, DELTA) > alpha:
            break
        chosen = confidence
    return chosen


def upper_bound(wrong: int, n: int, delta: float) -> float:
    """Clopper-Pearson: the rate at which `wrong` or fewer of `n` are seen with probability `delta`."""
    if wrong >= n:
        return 1.0
    low, high = wrong / n, 1.0
    for _ in range(50):  # halves 50 times: exact to 1e-15
        middle = (low + high) / 2
        if at_most(wrong, n, middle) > delta:
            low = middle
        else:
            high = middle
    return high


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial X with `n` trials of probability `p`."""
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    a, b = math.log(p), math.log1p(-p)
    top = math.lgamma(n + 1)
    return math.fsum(
        math.exp(top - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * a + (n - i) * b) for i in range(k + 1)
    )


def brier(rows: Sequence[tuple[int, bool]]) -> float:
    """Mean squared distance of p (millionths) from the truth; 0 is best."""
    return math.fsum((p / 1_000_000 - truth) ** 2 for p, truth in rows) / len(rows)


def expected_calibration_error(rows: Sequence[tuple[int, bool]], bins: int = 10) -> float:
    """Mean distance between stated and true share over `bins` of equal width, weighted by their rows."""
    groups: dict[int, list[tuple[int, bool]]] = {}
    for p, truth in rows:
        groups.setdefault(min(p * bins // 1_000_000, bins - 1), []).append((p, truth))
    return sum(abs(sum(p for p, _ in g) / 1_000_000 - sum(t for _, t in g)) for g in groups.values()) / len(rows)
