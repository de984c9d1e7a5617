"""Every way around the filter that is in scope is closed in every format and direction, and harmless texts pass."""

from __future__ import annotations

import pytest
from disguises import DISGUISES, check
from suite import SCENES, cases, families, harmless

ALL = families()
IN_SCOPE = [f for f in ALL if f.out is None]
OUT = {38, 50, 59}
"""Ciphers, and pieces that no longer are the value: declared out of scope, with the reason beside each."""


def names(family):
    return f"{family.id}-{family.name}"


def test_the_list_is_whole():
    """98 families, numbered without gaps; those out of scope say why, all others say how they are tried."""
    assert [f.id for f in ALL] == list(range(1, 99))
    assert {f.id for f in ALL if f.out} == OUT
    for family in IN_SCOPE:
        assert (family.scene in SCENES) != (family.dress in DISGUISES), family.name
    assert {f.scene for f in ALL if f.scene} == set(SCENES)


def test_disguises_keep_what_they_hide():
    check()


@pytest.mark.parametrize("family", IN_SCOPE, ids=names)
def test_caught(ground, family):
    """No case lets the value through, or what it asks for."""
    tried = list(cases(family, ground))
    assert [c.what for c in tried if not c.caught] == []
    assert tried


@pytest.mark.parametrize("family", [f for f in IN_SCOPE if f.dress], ids=names)
def test_harmless_texts_pass(ground, family):
    """The same disguise on a text without a secret changes nothing."""
    assert [c.what for c in harmless(family, ground) if c.caught] == []
