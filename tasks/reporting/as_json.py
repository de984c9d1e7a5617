"""The signed form of a posture: canonical JSON, integers only."""

from __future__ import annotations

import re
from typing import Any

from tasks.reporting import verify

_SURROGATE = re.compile("[\ud800-\udfff]")


def canonical_bytes(document: Any) -> bytes:
    """RFC 8785 bytes of `document` (sorted keys, no spaces, UTF-8).

    A lone surrogate becomes U+FFFD: it has no UTF-8 form, and hostile text must not be able to stop a report.
    Raises ValueError, naming the place, on floats, integers beyond 2^53 - 1, keys that are not strings, other types.
    """
    return verify.canonical(_plain(document, "$"))


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, int):
        if abs(value) > verify.MAX_INT:
            raise ValueError(f"{where}: an integer beyond 2^53 - 1 is not read alike everywhere; write it as text")
        return int(value)
    if isinstance(value, float):
        raise ValueError(f"{where}: floats do not belong in signed documents; use ppm or micro-units")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where}: key {key!r} is not a string")
        return {_SURROGATE.sub("\ufffd", k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise ValueError(f"{where}: {type(value).__name__} has no form in JSON; convert it first")
