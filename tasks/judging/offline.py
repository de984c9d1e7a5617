"""The offline panel: three judges with different principles and a meta-judge, none of which needs a network.

They skip the vendors and their independence, so all they produce carries the words `offline judges`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from tasks.judging.judge import Judge, MetaJudge
from tasks.judging.learned import cached_artefact
from tasks.judging.lexical import LexicalJudge
from tasks.judging.rule import RuleJudge
from tasks.judging.similarity import SimilarityJudge
from tasks.judging.weighing import WeighingMetaJudge


@dataclass(frozen=True, slots=True)
class Panel:
    judges: tuple[Judge, ...]
    meta: MetaJudge | None
    meta_not_independent: bool = False
    """The meta-judge shares its maker with a judge, under a waiver: every verdict and report says so."""

    @property
    def version(self) -> str:
        """Changes whenever a judge, its version or the set of judges does."""
        specs = [j.spec for j in self.judges] + ([self.meta.spec] if self.meta else [])
        names = "\n".join(sorted(f"{s.name}@{s.version}" for s in specs))
        return sha256(names.encode()).hexdigest()[:12]

    def counts(self) -> int:
        """Number of judges, without the meta-judge."""
        return len(self.judges)


@lru_cache(maxsize=1)
def offline_panel() -> Panel:
    """The panel of the shipped artefacts. Raises ConfigError when one is missing."""
    return Panel(
        judges=(
            RuleJudge(),
            LexicalJudge(*cached_artefact("lexical")),
            SimilarityJudge(*cached_artefact("similarity")),
        ),
        meta=WeighingMetaJudge(*cached_artefact("weighing")),
    )
