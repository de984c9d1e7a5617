"""What of a case may leave the machine.

`redacted` (the default) takes out what the gateway's patterns know as secrets, personal data and cards; `full` sends
the case as it was stored; `none` sends nothing, so that only offline judges vote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.decoders import Unreadable
from gateway.engine import Engine
from gateway.pattern_files import load_patterns
from tasks.records import Case, canonical_json

MODES = ("redacted", "full", "none")
MAX_RESPONSE = 8_000
"""Characters of the response that are sent; a longer one is cut in its middle."""
MAX_TURN = 4_000
MAX_TURNS = 20
MAX_CALL = 2_000
MAX_CALLS = 50
_TAIL = 0.3
"""Share kept from the end: what is complied with after a long preamble stands there."""
_CUT_MARK = re.compile(r"\[…\d+ characters left out…\]")
_REDACTED = re.compile(r"\[REDACTED:[a-z0-9_]+\]")


@dataclass(frozen=True, slots=True)
class Shown:
    """A case as it is sent."""

    goal: str
    turns: list[dict[str, str]]
    response: str
    trace: list[dict[str, Any]]


class NotRedactable(ValueError):  # noqa: N818 - names what the text is
    """More is hidden in a text than is decoded, so nobody can say what would leave."""


def shown(case: Case, mode: str) -> Shown:
    """The case cut to size and, in mode `redacted`, without secrets and personal data. Raises NotRedactable."""
    clean = redacted if mode == "redacted" else str
    return Shown(
        clean(case.goal),
        [
            {"role": str(t.get("role", "")), "content": cut(clean(str(t.get("content", ""))), MAX_TURN)}
            for t in list(case.turns)[-MAX_TURNS:]
        ],
        cut(clean(case.response), MAX_RESPONSE),
        [
            {
                "index": i,
                "tool": clean(call.name),
                "arguments": cut(clean(canonical_json(call.arguments)), MAX_CALL),
                "result": cut(clean(call.result or ""), MAX_CALL),
            }
            for i, call in enumerate(list(case.trace)[:MAX_CALLS])
        ],
    )


def redacted(text: str) -> str:
    """`text` with each secret, card and piece of personal data replaced by its kind. Raises NotRedactable."""
    try:
        hits = _engine().scan(text)
    except Unreadable:
        raise NotRedactable("more is hidden in the text than is decoded") from None
    pieces: list[str] = []
    done = 0
    for hit in hits:
        if hit.start >= done:
            pieces += [text[done : hit.start], f"[REDACTED:{hit.pattern.id}]"]
        done = max(done, hit.end)
    return "".join(pieces) + text[done:]


def cut(text: str, limit: int) -> str:
    """`text`, or its head and tail with a mark between them, of about `limit` characters."""
    if len(text) <= limit:
        return text
    tail = int(limit * _TAIL)
    return f"{text[: limit - tail]}\n[…{len(text) - limit} characters left out…]\n{text[-tail:]}"


def literal(span: str, response: str) -> bool:
    """Whether `span` stands in the response as sent, and is more than a mark that we put there ourselves."""
    return span in response and _CUT_MARK.search(span) is None and _REDACTED.fullmatch(span.strip()) is None


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return Engine(load_patterns())
