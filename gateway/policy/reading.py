"""Strict reading of signed JSON, shared by every section of a policy. No I/O.

All functions raise PolicyError; the message names the place, never the value found there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from gateway.policy.refused import PolicyError

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")
"""Of tenants, gateways, agents, assets."""
MAX_DEPTH = 64
"""Levels of nesting; the deepest thing a policy holds is the JSON Schema of a tool's arguments."""
MAX_INTEGER = 1 << 53
"""Numbers from here on are not the same in every reader of JSON."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def refuse(why: str) -> NoReturn:
    """The document is not understood whole, so nothing of it is used."""
    raise PolicyError("content", f"policy refused: {why}")


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object in `raw`: UTF-8 without BOM, no duplicate keys, no NaN, bounded depth (RFC 8259, tightened)."""
    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        refuse(f"not plain JSON in UTF-8 ({e.__class__.__name__})")
    if not isinstance(data, dict):
        refuse("not an object")
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        level = [v for item in level for v in (item.values() if isinstance(item, dict) else item)]
        level = [v for v in level if isinstance(v, dict | list)]
        if not level:
            return data
    refuse(f"nested more than {MAX_DEPTH} levels deep")


def check_keys(data: Mapping[str, Any], required: set[str], optional: set[str], where: str) -> None:
    """All of `required`, and nothing beyond `optional`."""
    if missing := required - set(data):
        refuse(f"{where} lacks `{sorted(missing)[0]}`")
    if set(data) - required - optional:
        # A field this version does not know could be a restriction; ignoring it would weaken the policy.
        refuse(f"{where} has fields this gateway does not know")


def read_object(value: Any, where: str) -> dict[str, Any]:
    """`value`, which must be an object."""
    if not isinstance(value, dict):
        refuse(f"`{where}` must be an object")
    return value


def read_list(value: Any, where: str) -> list[Any]:
    """`value`, which must be a list."""
    if not isinstance(value, list):
        refuse(f"`{where}` must be a list")
    return value


def read_text(value: Any, form: re.Pattern[str], where: str) -> str:
    """`value`, which must be a string that `form` matches whole."""
    if not isinstance(value, str) or not form.fullmatch(value):
        refuse(f"`{where}` holds a value of the wrong form")
    return value


def read_integer(value: Any, where: str, least: int = 0) -> int:
    """`value`, which must be a whole number from `least`; true and 1.0 are none."""
    if type(value) is not int or not least <= value < MAX_INTEGER:
        refuse(f"`{where}` must be a whole number from {least}")
    return value


def read_bool(value: Any, where: str) -> bool:
    """`value`, which must be true or false."""
    if not isinstance(value, bool):
        refuse(f"`{where}` must be true or false")
    return value


def read_choice(value: Any, known: tuple[str, ...], where: str) -> str:
    """`value`, which must be one of `known`."""
    if not isinstance(value, str) or value not in known:
        refuse(f"`{where}` has an unknown value; known are {', '.join(known)}")
    return value


def read_time(value: Any, where: str) -> datetime:
    """`value`, which must be a time in UTC, to the second: `2026-01-31T12:00:00Z`."""
    text = read_text(value, _TIME, where)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        refuse(f"`{where}` is no date")


def format_time(value: datetime) -> str:
    """How `read_time` reads it; fractions of a second are cut off."""
    if value.tzinfo is None or value.utcoffset():
        refuse("times must be in UTC")
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a JSON number")
