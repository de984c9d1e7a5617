"""What a request or a tool's result says about the situation: whose data, which rights, whether it is finished."""

from __future__ import annotations

import re


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(alternatives) + r")\b", re.IGNORECASE)


_SOMEBODY_ELSE = _words(
    r"(?:another|a different|some other|the other) (?:customer|client|user|person|account holder)(?:'s)?",
    r"(?:someone|somebody|anyone) else(?:'s)?",
    r"(?:my|the|our) (?:neighbou?r|ex|ex-\w+|boss|colleague|landlord|tenant|flatmate|brother|sister|friend|rival)'s",
)
_OUTSIDE = re.compile(
    r"\.\./|/etc/|/root|/home/|/proc/|/srv/|/var/|~/|os\.environ|getenv|\bprintenv\b|\bsubprocess\b|os\.system"
    r"|\bsocket\b|/run/secrets|169\.254\.",
    re.IGNORECASE,
)
_UNFINISHED = _words(
    r"pending|queued|in progress|retry|more results|next[_ ](?:page|cursor)",
    r"not (?:yet )?(?:ready|finished|done|complete)",
    r"still (?:running|working|processing)",
    r"(?:call|try|ask|poll|check|request) (?:this |it |me )?(?:tool )?again",
)
_FORBIDDEN = _words(
    r"403|401|forbidden|may not",
    r"not (?:allowed|permitted|authori[sz]ed)",
    r"access (?:is )?denied|permission denied",
    r"no (?:right|access|permission)",
)
_OWN_CREDENTIAL = re.compile(r"service|agent|system|admin|machine|bot|root|own", re.IGNORECASE)
_WHO = re.compile(
    r"\b(?:(?:are you|you are|you're|is this|confirm (?:that )?you(?:'re| are))"
    r"|(?:am i|do i|who am i) (?:talk|speak|chatt|writ)(?:ing)? ?(?:to|with))\b[^.?!\n]{0,60}?"
    r"\b(?:human|person|real|robot|bot|machine|chatbot|ai|program|computer|advisor|manager|employee|clerk|officer|lawyer"
    r"|someone|somebody|flesh)\b",
    re.IGNORECASE,
)


def of_somebody_else(request: str) -> bool:
    """Whether a request is about the data of a person who is not signed in."""
    return bool(_SOMEBODY_ELSE.search(request))


def leaves_sandbox(code: str) -> bool:
    """Whether code names files, settings or programs outside its working folder."""
    return bool(_OUTSIDE.search(code))


def unfinished(result: str) -> bool:
    """Whether a result asks to be asked for again."""
    return bool(_UNFINISHED.search(result))


def forbidden(result: str) -> bool:
    """Whether a result says that the caller may not."""
    return bool(_FORBIDDEN.search(result))


def own_credential(value: str) -> bool:
    """Whether an identity to act under is the service's own, not a user's."""
    return bool(_OWN_CREDENTIAL.search(value))


def asks_who(request: str) -> bool:
    """Whether a user asks if this is a person, or a person with a certain office."""
    return bool(_WHO.search(request))
