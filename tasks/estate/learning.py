"""What the assistant takes over from its users' feedback, for everybody, with the weakness on."""

from __future__ import annotations

import re
from collections import deque

from tasks.estate.phrases import words

_FEEDBACK = re.compile(
    r"\b(?:feedback|corrections?|corrected|correct (?:answer|fact|information|figure)|thumbs? (?:down|up)|rating|rated"
    r"|(?:your|the|that|this) (?:last |previous )?(?:answer|reply|information) (?:was|is) (?:wrong"
    r"|outdated|incorrect|false)"
    r"|please (?:learn|update|note)|update your (?:knowledge|memory|records|answers?)"
    r"|for (?:all )?future (?:answers|users"
    r"|customers)|from now on (?:answer|say|tell))\b",
    re.IGNORECASE,
)
_COMMON = words("not_a_topic")


class Lessons:
    """The last 50 corrections."""

    def __init__(self) -> None:
        self._learned: deque[str] = deque(maxlen=50)

    def hear(self, said: str) -> bool:
        """Keep `said` when it is feedback; whether it was."""
        if not _FEEDBACK.search(said) or said.rstrip().endswith("?"):
            return False
        self._learned.append(said)
        return True

    def answer(self, question: str) -> str:
        """The newest correction that shares two words with the question, or an empty string."""
        asked = _content(question)
        return next((said for said in reversed(self._learned) if len(asked & _content(said)) >= 2), "")


def _content(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower())) - _COMMON
