"""What a long text cannot hold: a few passes of numpy that spare it hyperscan's slowest expressions. No I/O.

Some expressions are made of sets of common characters only. Hyperscan has no literal to jump to then; it looks at every
byte and takes as long for each of them as for all others together. Numpy sees whether the runs of characters that such
an expression needs are there at all, and in most texts they are not.

What is said here may be wrong in one direction only: that there may be a match where there is none.
"""

from __future__ import annotations

import re
import string
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.decoders import GAP, QUAD

FROM = 12_288
"""Bytes from which on a text is looked at in this way; calling numpy costs more than it saves on shorter ones."""

_Array = npt.NDArray[Any]
_ALNUM, _GAP, _LISTED, _FIRST, _SECOND, _THIRD = (1 << n for n in range(6))
_SETS = {
    _ALNUM: string.ascii_letters + string.digits,
    _GAP: "".join(c for c in map(chr, range(0x80)) if re.match(f"[{GAP}]", c)),
    _LISTED: string.digits + ",; ",
    **{
        bit: "".join(c for c in map(chr, range(0x80)) if re.match(f"[{chars}]", c))
        for bit, chars in zip((_FIRST, _SECOND, _THIRD), QUAD[:3], strict=True)
    },
}


def _table() -> bytes:
    """Byte -> its classes. 0x80 + c is a foreign character that looks like the ASCII character c and counts as both."""
    bits = [0] * 0x80
    for bit, chars in _SETS.items():
        for c in chars:
            bits[ord(c)] |= bit
    return bytes([*bits, *(b | _GAP for b in bits)])


_TABLE = _table()


class Coarse:
    """A text between margins of zeros, one byte per character."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def _classes(self) -> _Array:
        return np.frombuffer(self._data.translate(_TABLE), dtype=np.uint8)

    @cached_property
    def _eights(self) -> _Array:
        """Eight bytes as one number."""
        return self._classes[: len(self._data) // 8 * 8].view(np.uint64)

    def base64_runs(self) -> bool:
        """Three groups of four characters that stand for printable text, one behind the other."""
        c = self._classes
        groups = ((c[:-2] & _FIRST) != 0) & ((c[1:-1] & _SECOND) != 0) & ((c[2:] & _THIRD) != 0)
        return bool((groups[:-8] & groups[4:-4] & groups[8:]).any())

    def letters_apart(self) -> bool:
        """Six single letters or digits at equal distances of two to four: all but the outer ones of eight."""
        c = self._classes
        gaps = (c & _GAP) != 0
        single = ((c[1:-1] & _ALNUM) != 0) & gaps[:-2] & gaps[2:]
        for apart in (2, 3, 4):
            two = single[:-apart] & single[apart:]
            four = two[: -2 * apart] & two[2 * apart :]
            if (four[: -2 * apart] & two[4 * apart :]).any():
                return True
        return False

    def listed_numbers(self) -> bool:
        """Twelve numbers of two digits or more with a sign or two between them: 35 characters, so three full blocks."""
        digits = (self._eights & _each(_ALNUM)) != 0
        return self._full(_LISTED, 3, digits)

    def long_words(self) -> bool:
        """51 letters and digits in a row, so five full blocks."""
        return self._full(_ALNUM, 5)

    def _full(self, bit: int, times: int, only: _Array | None = None) -> bool:
        """Whether `times` blocks of eight bytes in a row are all of a class."""
        full = (self._eights & _each(bit)) == _each(bit)
        if only is not None:
            full &= only
        for _ in range(times - 1):
            full = full[1:] & full[:-1]
        return bool(full.any())


def _each(bit: int) -> np.uint64:
    return np.uint64(bit * 0x0101010101010101)
