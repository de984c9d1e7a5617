"""Where the addresses in a text may lead to, by policy. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gateway.policy.actions import ACTIONS, Actions
from gateway.policy.reading import check_keys, read_choice, read_list, read_object, read_text

_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?")
_DEFAULTS = {
    "images": Actions("allow", "redact"),
    "links": Actions("allow", "flag"),
    "data": Actions("allow", "redact"),
}


@dataclass(frozen=True, slots=True)
class Egress:
    """The hosts that texts may name, and what becomes of addresses elsewhere."""

    hosts: tuple[str, ...]
    """In lower case; `*.name` stands for all below the name, not for the name itself."""
    images: Actions
    """What is fetched as soon as the text is shown: images, style sheets, frames, reference definitions."""
    links: Actions
    """What somebody has to follow."""
    data: Actions
    """Addresses elsewhere that carry something along, and listed ones that lead on to one that is not."""


def read_egress(value: Any, _: frozenset[str]) -> Egress:
    """`{"hosts": [...], "images"?, "links"?, "data"?}`, each `{"request", "response"}`. Raises PolicyError."""
    entries = read_object(value, "egress")
    check_keys(entries, {"hosts"}, set(_DEFAULTS), "egress")
    return Egress(
        hosts=tuple(read_text(host, _HOST, "egress.hosts") for host in read_list(entries["hosts"], "egress.hosts")),
        **{kind: _actions(entries[kind], kind) if kind in entries else own for kind, own in _DEFAULTS.items()},
    )


def _actions(value: Any, kind: str) -> Actions:
    where = f"egress.{kind}"
    entry = read_object(value, where)
    check_keys(entry, {"request", "response"}, set(), where)
    return Actions(*(read_choice(entry[scope], ACTIONS, where) for scope in ("request", "response")))
