"""Which regular expressions may be run: those whose time grows linearly with the text, whatever the text is.

The standard library's `re` tries every way to read a text, so an expression is checked when it is read: every repeat
has an upper bound, nothing variable stands inside a repeat, there are no back references. Each place of a text is then
tried in bounded time.
"""

from __future__ import annotations

import importlib
from typing import Any

MAX_WIDTH = 6_144
"""Characters of the longest hit of any pattern: a stream may have to hold this much back."""


def check_linear(expression: str) -> int:
    """The greatest width of a match in characters.

    Raises ValueError, saying what to change, unless the expression is safe by construction; re.error when it is none.
    """
    tree: Any = importlib.import_module("re._parser").parse(expression)
    _check(tree, inside_repeat=False)
    width = int(tree.getwidth()[1])
    if width > MAX_WIDTH:
        raise ValueError(f"a match may be {width} characters long; at most {MAX_WIDTH} are held in a stream")
    return width


def _check(tree: Any, inside_repeat: bool) -> None:
    for op, value in tree:
        name = str(op)
        if name in ("GROUPREF", "GROUPREF_EXISTS"):
            raise ValueError("back references are not linear")
        if name == "BRANCH":
            if inside_repeat:
                raise ValueError("alternatives inside a repeat may be ambiguous; write them out")
            for branch in value[1]:
                _check(branch, inside_repeat)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, body = value
            if int(high) > MAX_WIDTH:
                raise ValueError("every repeat needs an upper bound")
            if inside_repeat and low != high:
                raise ValueError("a repeat of variable length inside a repeat is not linear")
            _check(body, (inside_repeat or int(high) > 1) and not _alternates(body))
        elif name in ("ASSERT", "ASSERT_NOT"):
            if int(value[1].getwidth()[1]) > 2:
                raise ValueError("a look-around may span two characters at most")
            _check(value[1], inside_repeat)
        elif name == "SUBPATTERN":
            _check(value[3], inside_repeat)


def _alternates(body: Any) -> bool:
    """Whether a repeated body is a round of runs of characters, none of which can take from the next.

    Such as words and the spaces between them: there is one way to read a text so, hence nothing to try again.
    """
    if len(body) == 1 and str(body[0][0]) == "SUBPATTERN":
        body = body[0][1][3]
    sets = [_run_of(op, value) for op, value in body]
    if len(sets) < 2 or any(s is None for s in sets):
        return False
    return all(not (s & after) for s, after in zip(sets, [*sets[1:], sets[0]], strict=True) if s and after)


def _run_of(op: Any, value: Any) -> set[int] | None:
    """The ASCII characters of a run of one character or more of a set, both cases of letters; None for all else."""
    if str(op) == "MAX_REPEAT":
        low, _, inner = value
        return _run_of(*inner[0]) if int(low) > 0 and len(inner) == 1 else None
    if str(op) == "LITERAL":
        chars = {int(value)}
    elif str(op) == "IN" and all(str(kind) in ("LITERAL", "RANGE") for kind, _ in value):
        chars = {c for kind, v in value for c in ([v] if str(kind) == "LITERAL" else range(v[0], v[1] + 1))}
    else:
        return None
    return chars | {ord(f) for c in chars for f in (chr(c).lower(), chr(c).upper()) if len(f) == 1}
