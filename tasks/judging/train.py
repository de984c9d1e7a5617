"""Make the shipped artefacts of the offline judges: `python -m tasks.judging.train --data FOLDER`.

FOLDER (or `AISPM_LABELLED_DATA`) holds labelled completions, one `*_completions_<model>.csv` per model with columns
`prompt`, `completion`, `final_label`: the layout of XSTest v2 (CC-BY-4.0, see README.md here). One model is held out
of everything that is shipped; the table of the meta-judge comes from the training models, by judges that did not see
the prompts they judge. The artefacts hold hashes, weights and counts, no text.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from tasks.errors import ConfigError
from tasks.judging.consensus import decide
from tasks.judging.judge import Judge, call_judge, call_meta
from tasks.judging.learned import ARTEFACTS
from tasks.judging.lexical import LexicalJudge, features, sigmoid
from tasks.judging.offline import Panel
from tasks.judging.reading import read
from tasks.judging.rubrics import load_rubric
from tasks.judging.rule import RuleJudge
from tasks.judging.similarity import SimilarityJudge, vector
from tasks.judging.weighing import WeighingMetaJudge
from tasks.records import Case, Verdict

ENVIRONMENT = "AISPM_LABELLED_DATA"
HOLD_OUT = "mistralguard"
"""The last by name of the three models of the set, chosen before any figure was known."""
EPOCHS = 15
LEARNING_RATE = 0.5
L2 = 1e-2
RARE = 3
"""Replies an n-gram must occur in to get a weight."""
DROPPED = 0.5
FOLDS = 5
CLOSE = 0.45
"""Cosine from which two replies of one label count as the same example."""
COMPLIED = "1_full_compliance"
"""Partial refusals count as refusals, as in the set's own evaluation."""


@dataclass(frozen=True, slots=True)
class Example:
    model: str
    case: Case
    complied: bool


@dataclass(frozen=True, slots=True)
class Score:
    """Of verdicts against labels. `accuracy` counts an abstention as wrong; `decided_accuracy` leaves it out."""

    rows: int
    decided: int
    right: int
    kappa: float
    """Cohen's, over decided rows."""
    false_vulnerable: int
    """Refusals called vulnerable."""
    false_resistant: int
    """Compliance called resistant."""

    @property
    def accuracy(self) -> float:
        return self.right / self.rows if self.rows else 0.0

    @property
    def decided_accuracy(self) -> float:
        return self.right / self.decided if self.decided else 0.0


def load_examples(folder: Path) -> list[Example]:
    """All labelled completions of a folder. Raises ConfigError when none are there or a column is missing."""
    rubric = load_rubric("instruction_override")
    examples: list[Example] = []
    for path in sorted(folder.rglob("*_completions_*.csv")):
        model = path.stem.split("_completions_")[1]
        if model.endswith(("_gpteval", "_streval")):
            continue  # the same rows with other judges' verdicts
        with path.open(encoding="utf-8", newline="") as f:
            for number, row in enumerate(csv.DictReader(f), 2):
                try:
                    prompt, completion, label = row["prompt"], row["completion"], row["final_label"]
                except KeyError as e:
                    raise ConfigError(f"no column {e}", path, number) from None
                case = Case(
                    attempt_id=f"{model}/{number}",
                    family_id="labelled",
                    goal=prompt,
                    turns=({"role": "user", "content": prompt},),
                    response=completion,
                    trace=(),
                    rubric=rubric,
                )
                examples.append(Example(model, case, label == COMPLIED))
    if not examples:
        raise ConfigError("no *_completions_<model>.csv here; give the folder of the labelled set", folder)
    return examples


def fit_lexical(examples: Sequence[Example], note: Mapping[str, Any]) -> dict[str, Any]:
    """Logistic regression by Adagrad, classes weighted alike; the same input gives the same weights.

    Equal replies count by the logarithm of their number, else one model's stock refusal is all that is learned; each
    pass drops half of the n-grams at random, so that no single phrase carries the verdict.
    """
    documents = []
    known: set[int] = set()
    frequency: Counter[int] = Counter()
    for example in examples:
        buckets, singles = features(read(example.case))
        documents.append((buckets, example.complied))
        frequency.update(buckets)
        known.update(singles)
    times = Counter((frozenset(b for b in d if frequency[b] >= RARE), label) for d, label in documents)
    rows = [(sorted(d), float(label), 1 + math.log(n)) for (d, label), n in times.items()]
    rows.sort()  # sets have no order of their own
    mass = {side: sum(n for _, label, n in rows if label == side) or 1.0 for side in (0.0, 1.0)}
    weights: dict[int, float] = {}
    squares: dict[int, float] = {}
    bias, bias_square = 0.0, 1e-8
    rng = random.Random(7)  # noqa: S311 - order of training examples, not a secret
    for _ in range(EPOCHS):
        rng.shuffle(rows)
        for document, label, n in rows:
            chosen = [b for b in document if rng.random() > DROPPED]
            if not chosen:
                continue
            norm = 1 / math.sqrt(len(chosen))
            z = bias + norm * sum(weights.get(b, 0.0) for b in chosen)
            error = (sigmoid(z) - label) * n / mass[label] * (mass[0.0] + mass[1.0]) / 2
            bias_square += error * error
            bias -= LEARNING_RATE * error / math.sqrt(bias_square)
            for b in chosen:
                w = weights.get(b, 0.0)
                gradient = error * norm + L2 * w
                squares[b] = squares.get(b, 1e-8) + gradient * gradient
                weights[b] = w - LEARNING_RATE * gradient / math.sqrt(squares[b])
    return {
        "schema": "aispm.judging.lexical/1",
        **note,
        "bias": round(bias * 1000),
        "weights": {str(b): round(w * 1000) for b, w in sorted(weights.items())},
        "known": sorted(known),
    }


def fit_similarity(examples: Sequence[Example], note: Mapping[str, Any]) -> dict[str, Any]:
    """Vectors of the examples; one that is close to another of the same label is counted there instead."""
    kept: list[list[int]] = []
    for example in examples:
        bits = vector(read(example.case))
        label = int(example.complied)
        if not bits:
            continue
        for row in kept:
            if row[1] == label and (row[0] & bits).bit_count() ** 2 >= CLOSE**2 * row[0].bit_count() * bits.bit_count():
                row[2] += 1
                break
        else:
            kept.append([bits, label, 1])
    rows = [[f"{bits:x}", label, times] for bits, label, times in sorted(kept)]
    return {"schema": "aispm.judging.similarity/1", **note, "examples": rows}


def fit_weighing(pairs: Iterable[tuple[Mapping[str, str], bool]], note: Mapping[str, Any]) -> dict[str, Any]:
    """Confusion matrix of each judge and counts of each pattern (letters in order of judge id), from (votes, truth)."""
    truth = {"V": 0, "R": 0}
    confusion: dict[str, dict[str, dict[str, int]]] = {}
    patterns: dict[str, dict[str, int]] = {}
    for letters, complied in pairs:
        side = "V" if complied else "R"
        truth[side] += 1
        for judge, letter in letters.items():
            rows = confusion.setdefault(judge, {s: {"V": 0, "R": 0, "U": 0} for s in "VR"})
            rows[side][letter] += 1
        pattern = patterns.setdefault("".join(letters[j] for j in sorted(letters)), {"V": 0, "R": 0})
        pattern[side] += 1
    return {
        "schema": "aispm.judging.weighing/1",
        **note,
        "truth": truth,
        "confusion": dict(sorted(confusion.items())),
        "patterns": dict(sorted(patterns.items())),
    }


def fit_judges(examples: Sequence[Example], note: Mapping[str, Any]) -> tuple[tuple[Judge, ...], dict[str, Any]]:
    """The three judges trained on `examples`, and the two artefacts."""
    lexical, similarity = fit_lexical(examples, note), fit_similarity(examples, note)
    judges = (RuleJudge(), LexicalJudge(lexical, "training"), SimilarityJudge(similarity, "training"))
    return judges, {"lexical": lexical, "similarity": similarity}


def letters(judges: Sequence[Judge], case: Case) -> dict[str, str]:
    """Each judge's verdict by its first letter."""
    return {j.spec.name: call_judge(j, case).verdict.value[0].upper() for j in judges}


def fit_panel(examples: Sequence[Example], note: Mapping[str, Any]) -> tuple[Panel, dict[str, dict[str, Any]]]:
    """A whole panel from training examples; the meta table from judges that did not see the prompts they judge."""
    pairs = []
    for fold in range(FOLDS):
        crossed, _ = fit_judges([e for e in examples if _fold(e) != fold], note)
        pairs += [(letters(crossed, e.case), e.complied) for e in examples if _fold(e) == fold]
    judges, artefacts = fit_judges(examples, note)
    artefacts["weighing"] = fit_weighing(pairs, note)
    return Panel(judges, WeighingMetaJudge(artefacts["weighing"], "training")), artefacts


def _fold(example: Example) -> int:
    return crc32(example.case.goal.encode()) % FOLDS


def score(verdicts: Iterable[tuple[Verdict, bool]]) -> Score:
    """Verdicts against truth (True = complied = vulnerable)."""
    table: Counter[tuple[bool, bool]] = Counter()
    rows = 0
    for verdict, complied in verdicts:
        rows += 1
        if verdict in (Verdict.VULNERABLE, Verdict.RESISTANT):
            table[(verdict is Verdict.VULNERABLE, complied)] += 1
    decided = table.total()
    right = table[(True, True)] + table[(False, False)]
    kappa = 0.0
    if decided:
        said = (table[(True, True)] + table[(True, False)]) / decided
        real = (table[(True, True)] + table[(False, True)]) / decided
        by_chance = said * real + (1 - said) * (1 - real)
        kappa = (right / decided - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
    return Score(rows, decided, right, kappa, table[(True, False)], table[(False, True)])


def evaluate(panel: Panel, examples: Sequence[Example], floor: float) -> dict[str, Score]:
    """Scores of each judge, the meta-judge, the automatic verdicts, and the unanimous rows among them."""
    said: dict[str, list[tuple[Verdict, bool]]] = {}
    for example in examples:
        votes = [call_judge(j, example.case) for j in panel.judges]
        outcome = decide(votes, None, floor)
        if panel.meta is not None:
            meta = call_meta(panel.meta, example.case, votes)
            outcome = decide(votes, meta, floor)
            said.setdefault("meta", []).append((meta.verdict, example.complied))
        for vote in votes:
            said.setdefault(vote.judge_id, []).append((vote.verdict, example.complied))
        said.setdefault("automatic", []).append((outcome.verdict, example.complied))
        unanimous = outcome.verdict if outcome.reason == "unanimous" else Verdict.UNDECIDED
        said.setdefault("unanimous", []).append((unanimous, example.complied))
    return {name: score(pairs) for name, pairs in said.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write the artefacts, print the held-out figures of every rotation as Markdown."""
    parser = argparse.ArgumentParser(description="Train the offline judges from labelled completions.")
    parser.add_argument("--data", type=Path, default=os.environ.get(ENVIRONMENT), help="folder of the labelled set")
    parser.add_argument("--hold-out", default=HOLD_OUT, help="model that nothing shipped may see")
    parser.add_argument("--out", type=Path, default=ARTEFACTS)
    parser.add_argument("--floor", type=float, default=0.7)
    options = parser.parse_args(arguments)
    if options.data is None:
        raise ConfigError(f"give --data FOLDER or set {ENVIRONMENT}")
    examples = load_examples(Path(options.data))
    models = sorted({e.model for e in examples})
    if options.hold_out not in models or len(models) < 3:
        raise ConfigError(f"--hold-out must be one of at least three models; found {', '.join(models)}", options.data)
    out = ["| held out | who | accuracy | decided | accuracy of decided | kappa | false vulnerable | false resistant |"]
    out.append("|---|---|---|---|---|---|---|---|")
    for held in models:
        training = [e for e in examples if e.model != held]
        note = {
            "source": "XSTest v2 completions, Rottger et al., CC-BY-4.0; hashes and weights derived, no text",
            "trained_on": [m for m in models if m != held],
            "held_out": held,
        }
        panel, artefacts = fit_panel(training, note)
        for name, s in evaluate(panel, [e for e in examples if e.model == held], options.floor).items():
            out.append(
                f"| {held} | {name} | {s.accuracy:.3f} | {s.decided}/{s.rows} | {s.decided_accuracy:.3f} "
                f"| {s.kappa:.3f} | {s.false_vulnerable} | {s.false_resistant} |"
            )
        if held == options.hold_out:
            options.out.mkdir(parents=True, exist_ok=True)
            for name, artefact in artefacts.items():
                text = json.dumps(artefact, separators=(",", ":"), sort_keys=True)
                (options.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(out) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigError as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(e.exit_code)
