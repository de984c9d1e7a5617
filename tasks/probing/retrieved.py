"""What a retrieval application cited: which planted documents, how high, and in how many exchanges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.targets.target import Citation


def names(chunk_id: str, documents: Iterable[str]) -> bool:
    """Whether a cited chunk belongs to one of the documents, however the store numbers chunks."""
    return any(chunk_id == d or chunk_id.startswith(tuple(f"{d}{mark}" for mark in "#/:-_.")) for d in documents)


def planted_ids(spec: Mapping[str, Any], citations: Iterable[Citation], documents: tuple[str, ...]) -> str | None:
    """Where at least `spec["at_least"]` different planted documents were cited, over the whole conversation."""
    cited = list(citations)
    found = [d for d in documents if any(names(c.chunk_id, (d,)) for c in cited)]
    return f"{len(found)} of {len(documents)} planted documents" if len(found) >= spec["at_least"] else None


def rank(spec: Mapping[str, Any], citations: Iterable[Citation], documents: tuple[str, ...]) -> str | None:
    """Where a planted document stood among the first `within` citations in at least `in_turns` exchanges.

    The order of the citations is taken for their rank.
    """
    by_turn: dict[int, list[str]] = {}
    for citation in citations:
        by_turn.setdefault(citation.turn, []).append(citation.chunk_id)
    high = [t for t, ids in by_turn.items() if any(names(i, documents) for i in ids[: spec["within"]])]
    return f"in {len(high)} exchanges" if len(high) >= spec["in_turns"] else None
