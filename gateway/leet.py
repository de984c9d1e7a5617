"""Words in which digits and signs stand for letters: `1gn0r3 4ll pr3v10us 1nstruct10ns`. No I/O.

Only words of phrases that are looked for are read so, and what stands around them: a digit in a key is a digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from gateway.pattern_files import INSTRUCTIONS, load_patterns

SIGNS = {"a": "4@", "e": "3", "i": "1!|", "l": "1|", "o": "0", "s": "5$", "t": "7"}
"""letter -> what may stand for it."""
WORDS = (
    *("ignore", "ignoring", "disregard", "forget", "override", "overriding", "bypass", "discard", "reveal", "repeat"),
    *("anything", "unrestricted", "jailbroken", "instructions", "prompt", "guidelines", "directives", "programming"),
    *("credentials", "password", "conversation", "mention", "inform", "system"),
)
"""Words of the phrases that are rare enough in this spelling to begin a closer look."""
_SPACE = (*" \t\r\n,\0", "")
"""What stands between words, or nothing."""
_SIGN = (*_SPACE, *".;:!?()[]{}<>'`", '"')
"""What stands on one side of the first or the last of several words."""
_AROUND = 200
"""Characters on each side of such a word that are read with it."""

_CORE = re.compile(r"[A-Za-z0-9@!|$]*[A-Za-z][A-Za-z0-9@!|$]*")
_MIXED = re.compile(r"(?<![A-Za-z0-9@!|$])(?:[A-Za-z]++[0-9@!|$]|[0-9@!|$]++[A-Za-z])[A-Za-z0-9@!|$]*+")
"""A word with a letter and a sign in it."""
_LETTERS = str.maketrans({sign: letter for letter, signs in reversed(SIGNS.items()) for sign in signs})
_ALIKE = _LETTERS | {ord("l"): "i"}
"""As above, with one letter for the two that share a sign."""


def spellings(word: str) -> str:
    """An expression for all ways to write a word with at least one sign in it."""
    plain = [f"[{c}{c.upper()}]" for c in word]
    either = [f"[{c}{c.upper()}{SIGNS.get(c, '')}]" for c in word]
    ways = ["".join(plain[:i]) + f"[{SIGNS[c]}]" + "".join(either[i + 1 :]) for i, c in enumerate(word) if c in SIGNS]
    return f"(?:{'|'.join(ways)})"


@cache
def _vocabulary() -> dict[str, str]:
    """What is alike -> the word of a phrase."""
    found: set[str] = set()
    for pattern in load_patterns(INSTRUCTIONS):
        for word, optional in re.findall(r"([a-z]{3,})(\??)", pattern.verify.pattern):
            found |= {word, word[:-1]} if optional else {word}
    return {word.translate(_ALIKE): word for word in sorted(found | set(WORDS))}


def plain_word(word: str, listed: bool = False) -> str:
    """A word with letters for its signs; as it is when there are none in it, or no letters.

    `listed`: only words of the phrases.
    """
    core = _CORE.fullmatch(word)
    if core is None or word.isalpha():
        return word
    for end in (len(word), len(word.rstrip("!|"))):
        lower = word[:end].lower()
        known = _vocabulary().get(lower.translate(_ALIKE))
        if known is not None:
            return known + word[end:]
    return word if listed else word.lower().translate(_LETTERS)


def words_around(text: str, ends: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """(start, end, reading) of each such word near a place where one of `WORDS` was found, in order.

    Others than those of the phrases only where they stand alone, as words do; elsewhere they may be parts of values.
    """
    stops = [n for n, end in enumerate(ends) if n + 1 == len(ends) or ends[n + 1] - end > 2 * _AROUND]
    for first, last in zip([0, *(n + 1 for n in stops)], stops, strict=False):
        for found in _MIXED.finditer(text, max(0, ends[first] - _AROUND), ends[last] + _AROUND):
            start, end = found.span()
            before, after = text[max(0, start - 1) : start], text[end : end + 1]
            alone = (before in _SPACE and after in _SIGN) or (before in _SIGN and after in _SPACE)
            if (reading := plain_word(found[0], listed=not alone)) != found[0]:
                yield start, end, reading
