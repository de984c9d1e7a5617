"""Named settings of the switches: what a run of the estate is weak against."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.estate.switches import SWITCHES, known

Variant = frozenset[str]
"""Names of the switches that are on."""


def hardened() -> Variant:
    """No weakness."""
    return frozenset()


def all_on() -> Variant:
    """Every weakness: the demo."""
    return frozenset(SWITCHES)


def vulnerable(*names: str) -> Variant:
    """Exactly these weaknesses. Raises ValueError on an unknown name."""
    return frozenset(known(name) for name in names)


def adjust(base: Variant, on: Iterable[str] = (), off: Iterable[str] = ()) -> Variant:
    """`base` with some switches turned on, then some off. Raises ValueError on an unknown name."""
    return (base | vulnerable(*on)) - vulnerable(*off)
