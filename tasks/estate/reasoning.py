"""Hidden work before an answer: what a reasoning model writes for itself, is paid for and does not show."""

from __future__ import annotations

import re

CASES = 40
"""Cases that a bounded service goes through before it answers."""

_THINKING = re.compile(
    r"\b(?:think|reason(?:ing)?|consider|deliberat\w+|ponder|reflect|in your head|work out|weigh|step by step)\b",
    re.IGNORECASE,
)
_EACH = re.compile(r"\b(?:each|every|all|one by one|any of)\b", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d.,])\d{1,3}(?:[,. ]?\d{3})+(?![\d.,]*\d)")


def scratchpad(question: str, most: int) -> str:
    """The notes that a question which asks for case after case of thought leads to: at most `most` cases.

    Empty when the question asks for no such thing.
    """
    sizes = [int(re.sub(r"\D", "", n)) for n in _NUMBER.findall(question)]
    if not sizes or not _THINKING.search(question) or not _EACH.search(question):
        return ""
    return "\n".join(f"Case {n}: leaves {n % 7}, so go on." for n in range(1, min(max(sizes), most) + 1))
