"""A poor reader of small languages: word by word into English, as far as a short word list goes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

KNOWN_WORDS = 4
"""Different words of one language that a text must hold before it is read in it."""

_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_QUOTED = re.compile(r"(\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|`[^`\n]*`)")


def gist(text: str) -> str:
    """`text` with the words of the small language it is written in put into English; empty when it is in none.

    What stands in quotation marks stays as it is.
    """
    spoken = {w.casefold() for w in _TOKEN.findall(_QUOTED.sub(" ", text))}
    best = max(_languages().values(), key=lambda language: len(spoken & language.keys()))
    # Short words such as `a` and `no` belong to many languages.
    if sum(len(w) > 2 for w in spoken & best.keys()) < KNOWN_WORDS:
        return ""
    parts = _QUOTED.split(text)
    return "".join(
        p if i % 2 else _TOKEN.sub(lambda m: best.get(m[0].casefold(), m[0]), p) for i, p in enumerate(parts)
    )


@cache
def _languages() -> dict[str, dict[str, str]]:
    text = (Path(__file__).parent / "languages.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, str]] = yaml.safe_load(text)
    return loaded
