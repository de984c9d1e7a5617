"""Pages of harmless prose, to bury a request in. Always the same for the same number."""

from __future__ import annotations

import random

_WHO = ("The branch in the old town", "Our winter brochure", "The reading room", "The garden behind the office",
        "A customer from the coast", "The coffee machine on the second floor", "The archive of photographs",
        "The spring newsletter", "The elevator at the north entrance", "The team for savings plans")  # fmt: skip
_DID = ("was repaired in the first week of March", "has found many friends among the visitors",
        "will be shown again when the days grow longer", "moved one floor higher last autumn",
        "is described at length in the annual report", "closes a little earlier on rainy days",
        "received a letter of praise from a school class", "smells of fresh paint and old paper",
        "was designed by two architects from the region", "needs a second coat of varnish")  # fmt: skip
_WHY = ("because the supplier changed the delivery days", "although nobody had expected it in spring",
        "which pleased the neighbours very much", "as the minutes of the meeting explain",
        "so that the corridor looks friendlier than before", "while the market square is under construction",
        "and the local paper wrote a short article about it", "since the old one had served for thirty years",
        "just as the founders had once hoped", "after a long and friendly discussion")  # fmt: skip


def prose(characters: int, number: int) -> str:
    """At least `characters` of sentences about a bank's everyday life, in paragraphs of six."""
    rng = random.Random(number)  # noqa: S311  # a reproducible text, not a secret
    sentences: list[str] = []
    length = 0
    while length < characters:
        sentence = f"{rng.choice(_WHO)} {rng.choice(_DID)}, {rng.choice(_WHY)}."
        sentences.append(sentence)
        length += len(sentence) + 1
    return "\n\n".join(" ".join(sentences[i : i + 6]) for i in range(0, len(sentences), 6))
