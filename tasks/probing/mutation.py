"""Whether every assertion is needed: take one away and some example must get another verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tasks.probing.catalog import Clause, Family
from tasks.probing.selftest import replay
from tasks.records import Verdict


@dataclass(frozen=True, slots=True)
class Removed:
    """One assertion without which every example of its family keeps its verdict."""

    family_id: str
    clause: int
    condition: str | None
    """None = the whole clause."""

    def __str__(self) -> str:
        what = f"clause {self.clause}" if self.condition is None else f"`{self.condition}` in clause {self.clause}"
        return f"{self.family_id}: no example needs {what}"


def dead_assertions(families: Mapping[str, Family]) -> list[Removed]:
    """Clauses of any effect, and single conditions in clauses of several, that no example needs.

    Examples are the selftests, and each of them once more as a reply that the target never called finished.
    """
    return [
        removed
        for family in families.values()
        for verdicts in [_verdicts(family)]
        for removed, mutant in mutants(family)
        if _verdicts(mutant) == verdicts and not _asks_judges_otherwise(family, mutant)
    ]


def _verdicts(family: Family) -> list[Verdict]:
    unfinished = [{"finish": "unknown", **test} for test in family.tests]
    twins = replace(family, tests=tuple(unfinished))
    return [result.actual for tests in (family, twins) for result in replay(tests)]


def mutants(family: Family) -> Iterator[tuple[Removed, Family]]:
    """The family without one clause, or with one condition of a clause taken out."""
    for i, clause in enumerate(family.clauses):
        before, after = family.clauses[:i], family.clauses[i + 1 :]
        yield Removed(family.family_id, i, None), replace(family, clauses=(*before, *after))
        conditions = [name for name in clause.conditions if name != "decoders"]
        if clause.effect == "judge" or len(conditions) < 2:
            continue
        for name in conditions:
            rest = {n: v for n, v in clause.conditions.items() if n != name}
            if name == "output_contains":
                rest.pop("decoders", None)
            yield (
                Removed(family.family_id, i, name),
                replace(family, clauses=(*before, Clause(clause.effect, rest), *after)),
            )


def _asks_judges_otherwise(family: Family, mutant: Family) -> bool:
    """A judge clause changes who is asked, not a verdict by evidence."""
    return family.rubric != mutant.rubric
