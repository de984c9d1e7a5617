"""What of a reply may be stored: a short excerpt without anybody's live credentials.

Canaries and planted secrets stay, since they are the evidence and open nothing. Control characters stay too: they are
data, and whoever shows the excerpt has to escape it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_EXCERPT = 2000
"""Characters; the lake's column refuses more."""
_TAIL = 600
"""Kept from the end of a long reply: what is complied with after a long preamble stands there."""

_CREDENTIALS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bBearer\s+[A-Za-z0-9._~+/-]{16,}=*"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}\b"
    r"|\bsk-[A-Za-z0-9_-]{20,}",
    re.DOTALL,
)


def redact(text: str, known: Sequence[str]) -> str:
    """`text` without the known keys and without what has the shape of a live credential."""
    for secret in known:
        if secret:
            text = text.replace(secret, "[credential]")
    text = _CREDENTIALS.sub("[credential]", text)
    # JSON can spell lone surrogates; UTF-8 cannot.
    return text.encode("utf-8", "replace").decode("utf-8")


def excerpt_of(text: str, known: Sequence[str]) -> str:
    """At most MAX_EXCERPT characters of a reply: its start and, when it is longer, its end."""
    text = redact(text, known)
    if len(text) <= MAX_EXCERPT:
        return text
    mark = "\n[…]\n"
    return text[: MAX_EXCERPT - _TAIL - len(mark)] + mark + text[-_TAIL:]
