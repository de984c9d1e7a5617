"""Addresses in a text that lead where the policy does not let them: each rule of it as a pattern. No I/O.

What is shown to somebody may fetch an address at once (an image in Markdown, EchoLeak, CVE-2025-32711) or be followed
later; either carries away whatever the model was talked into writing into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from urllib.parse import unquote

from gateway.linear import check_linear
from gateway.pattern_files import Pattern, digest
from gateway.policy.actions import Actions
from gateway.policy.egress import Egress
from gateway.validators.tokens import mixed_token, random_token

CATEGORY = "egress"
URL_LENGTH = 2_000
"""Characters of an address that are looked at; browsers and servers take few longer ones."""
_REST = rf"[^\s\x00-\x1f<>\"'()\[\]{{}}|^`]{{1,{URL_LENGTH}}}"
_URL = rf"(?:(?:https?|ftp|wss?):)?[/\\]{{2}}{_REST}"
_TAGS = "img|image|iframe|frame|script|link|video|audio|source|embed|object|svg|use|input|body|table|td|base|form|meta"
_FETCHED = {
    "egress_image": r"!\[[^\]\x00]{0,300}\]\([ \t\r\n]{0,3}<?",
    "egress_reference": r"\[[^\]\r\n\x00]{1,200}\]:[ \t]{0,3}<?",
    "egress_html": rf"<(?:{_TAGS})\b[^<>\x00]{{0,600}}?",
    "egress_style": r"(?:url\(|@import)[ \t]{0,3}[\"']?",
}
"""pattern -> what stands before an address that is fetched without anybody's doing."""
_FOLLOWED = rf"(?:(?:https?|ftp|wss?):|(?<=[(<\"'=]))[/\\]{{2}}{_REST}"
_SCHEME = re.compile(r"^(?:[a-z]+:)?[/\\]*", re.IGNORECASE)
_NESTED = re.compile(r"(?:https?:)?[/\\]{2}[a-z0-9@.:%-]+", re.IGNORECASE)
_DOTS = re.compile("[\u3002\uff0e\uff61]")
"""What browsers read as a dot in a host (UTS 46)."""
_ENCODED_END = re.compile("(?:%(?:2f|3f|23|26|5c))+$")
"""What ends a host in an address that stands, encoded, in another one."""
_NAME = re.compile("[a-z0-9.:-]*")
_GOES_ON = re.compile("[a-z0-9%@_]")
_PARTS = re.compile(r"[/\\?&=#;,]")
_ENDS = re.compile(r"[/\\?#]")
_DRAWN, _LONG = 16, 40
"""Characters from which on a random looking part, or any value, counts as data."""


def egress_patterns(egress: Egress | None) -> tuple[Pattern, ...]:
    """One pattern for each kind of address and rule; none without a policy on it."""
    if egress is None:
        return ()
    elsewhere, carries = partial(leads_elsewhere, egress), partial(carries_data, egress)
    fetched = [
        _pattern(name, f"{before}(?P<secret>{_URL})", "EGRESS.MARKDOWN_IMAGE", egress.images, elsewhere)
        for name, before in _FETCHED.items()
    ]
    return (
        *fetched,
        _pattern("egress_data", _FOLLOWED, "EGRESS.URL_PARAM", egress.data, carries),
        _pattern("egress_link", _FOLLOWED, "EGRESS.DOMAIN", egress.links, elsewhere),
    )


def _pattern(name: str, expression: str, reason: str, action: Actions, validate: Callable[[str], int]) -> Pattern:
    return Pattern(
        id=name,
        version=digest(expression.encode()),
        title=name.replace("_", " "),
        category=CATEGORY,
        severity="high" if reason != "EGRESS.DOMAIN" else "low",
        reason=reason,
        action=action,
        anchor=(),
        trigger=None,
        verify=re.compile(expression, re.ASCII | re.IGNORECASE),
        validate=validate,
        hold="link",
        width=check_linear(expression),
        redactable=True,
        match=(),
        no_match=(),
    )


def leads_elsewhere(egress: Egress, url: str) -> int:
    """Its length if the host is not listed. What a browser would read as another host than it looks is none."""
    host = _host(url)
    return 0 if not _address(url, host) or _listed(egress, host) else len(url)


def carries_data(egress: Egress, url: str) -> int:
    """Its length if it leads elsewhere with something in it, or to a listed host and from there on elsewhere."""
    if not _address(url, _host(url)):
        return 0
    rest = _SCHEME.sub("", url)
    whole = unquote(unquote(rest)) if "%" in rest else rest
    plain = _PARTS.split(whole)
    behind = whole[len(plain[0]) :]
    inner = [(nested, _host(nested)) for nested in _NESTED.findall(behind)]
    if any(_address(nested, host) and not _listed(egress, host) for nested, host in inner):
        return len(url)
    if _listed(egress, _host(url)):
        return 0
    labels = plain[0].split(".")
    carried = any(_drawn(part) or len(part) >= _LONG for part in plain[1:]) or any(_drawn(label) for label in labels)
    return len(url) if carried else 0


def _address(url: str, host: str) -> bool:
    """Whether it is one: without a scheme before and a domain behind, slashes are comments and backslashes escapes."""
    return "." in host or url[0] not in "/\\"


def _drawn(part: str) -> bool:
    if len(part) < _DRAWN:
        return False
    digits = any(c.isdigit() for c in part) and any(c.isalpha() for c in part)
    return bool(random_token(part) if digits else mixed_token(part))


def _host(url: str) -> str:
    """The host as browsers find it (WHATWG URL): behind user and password, before a port, backslashes like slashes."""
    authority = _ENDS.split(_SCHEME.sub("", url.lower()), maxsplit=1)[0]
    host = _ENCODED_END.sub("", authority.rpartition("@")[2])
    return _DOTS.sub(".", host).rstrip(".,;:!")


@lru_cache(maxsize=4_096)
def _listed(egress: Egress, host: str) -> bool:
    plain = _NAME.match(host)
    name = plain[0].rstrip(".") if plain else ""
    # What follows a host without a space, in scripts that use none, is no part of it unless it goes on to another.
    if _GOES_ON.search(host, len(name)):
        return False
    for known in egress.hosts:
        for form in (name, name.rpartition(":")[0]):
            if form and (form == known or (known.startswith("*.") and form.endswith(known[1:]))):
                return True
    return False
