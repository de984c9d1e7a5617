"""Text that an attacker may have written, made fit for a report: visible, bounded, never markup."""

from __future__ import annotations

import hashlib
import re

MAX_CELL = 2_000
"""Characters. One paragraph of 1 MB took a PDF renderer minutes."""

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1: terminals and parsers act on them
    "\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"  # bidi marks and overrides: they reorder what a reader sees
    "\u2028\u2029\ufeff"
    "\U000e0000-\U000e007f"  # tag characters: an invisible alphabet
    "\ud800-\udfff\ufffe\uffff]"
)


def clean(value: object, limit: int = MAX_CELL) -> str:
    """`value` as text with unsafe characters as U+FFFD, cut at `limit` characters with the digest of the whole.

    The digest is over the UTF-8 form before cleaning, so the full text can be found in `posture.json`.
    """
    text = str(value)
    if len(text) <= limit:
        return _UNSAFE.sub("\ufffd", text)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return _UNSAFE.sub("\ufffd", text[:limit]) + f" … cut, sha256 {digest}"
