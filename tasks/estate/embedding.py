"""The estate's embedding: deterministic, without weights. A paraphrase with other words is not recognised as one."""

from __future__ import annotations

import hashlib
import math
import re

MODEL = "nimbus-hash-embed-256@1"
DIMENSIONS = 256
_STOP = frozenset(
    [
        "the",
        "a",
        "an",
        "of",
        "and",
        "or",
        "to",
        "in",
        "is",
        "are",
        "was",
        "for",
        "on",
        "at",
        "by",
        "with",
        "from",
        "it",
        "this",
        "that",
        "what",
        "which",
        "who",
        "how",
        "when",
        "where",
        "do",
        "does",
        "i",
        "you",
        "my",
        "your",
        "we",
        "me",
        "be",
        "can",
    ]
)


def embed(text: str, unit: bool = True) -> list[float]:
    """A vector of 256 floats: words and their letter groups of four, hashed to signed places (feature hashing,
    Weinberger et al. 2009). The cosine of two texts grows with the words and word parts they share.

    Of length one, unless `unit` is off: then it grows with the text, and so does every inner product with it.
    """
    vector = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        if word in _STOP:
            continue
        grams = {f"w:{word}": 2.0} | {f"g:{word[i : i + 4]}": 0.6 for i in range(max(0, len(word) - 3))}
        for gram, weight in grams.items():
            digest = hashlib.blake2b(gram.encode(), digest_size=8).digest()
            vector[digest[0]] += weight if digest[1] & 1 else -weight
    if not unit:
        return vector
    length = math.sqrt(sum(v * v for v in vector)) or 1.0
    return [v / length for v in vector]
