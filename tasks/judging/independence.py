"""Whether the live judges of the settings may judge: complete, priced, and not of one maker.

Judges of one maker err together, and a meta-judge that shares its maker with a judge confirms that judge. The latter
can be waived for a time, with a reason and an owner; then every verdict and report says `meta_not_independent`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from urllib.parse import urlsplit

from tasks.judging.models import known_model
from tasks.judging.vendors import FORMATS
from tasks.judging_settings import JudgeSettings, JudgingSettings
from tasks.records import ProofLabel

PANEL = 3
MODES = ("redacted", "full", "none")
GOLD_ROWS = (20, 60)
"""Fewest and most gold rows of a window."""
ALWAYS, DISAGREEMENT = "always", "disagreement"
"""When the meta-judge reads."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_REFERENCE = re.compile(r"(?:env|file):\S+")
_URL = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")


def judging_problems(judging: JudgingSettings, today: date) -> Iterator[tuple[str, str]]:
    """(dotted name of a setting, what is wrong and what to do), worst first; nothing when all is well."""
    if judging.egress not in MODES:
        yield "judging.egress", f"one of {', '.join(MODES)}"
    if judging.self_vendor not in ("count", "exclude"):
        yield "judging.self_vendor", "`count` or `exclude`"
    if judging.meta_when not in (ALWAYS, DISAGREEMENT):
        yield "judging.meta_when", f"`{ALWAYS}` or `{DISAGREEMENT}`"
    for share in ("meta_floor", "alpha", "audit_share"):
        if getattr(judging, share) > 1:
            yield f"judging.{share}", "a share: 1 at most"
    if not GOLD_ROWS[0] <= judging.gold_rows <= GOLD_ROWS[1]:
        yield "judging.gold_rows", f"{GOLD_ROWS[0]} to {GOLD_ROWS[1]}: fewer find nothing"
    if not judging.judges:
        if judging.meta.provider:
            yield "judging.meta", "a live meta-judge needs three live judges: add [judging.judges.NAME] tables"
        return
    if len(judging.judges) != PANEL:
        yield "judging.judges", f"a panel has {PANEL} judges, not {len(judging.judges)}"
    for name, judge in judging.judges.items():
        if not _NAME.fullmatch(name):
            yield f"judging.judges.{name}", "a name has small letters, digits, - and _ only"
        yield from _incomplete(f"judging.judges.{name}", judge)
        if judge.waiver.reason or judge.waiver.owner or judge.waiver.expires:
            yield f"judging.judges.{name}.waiver", "only the meta-judge can have a waiver"
    if not judging.meta.provider:
        yield "judging.meta", "live judges need a meta-judge: add [judging.meta] with provider, model and key"
        return
    yield from _incomplete("judging.meta", judging.meta)
    makers: dict[str, str] = {}
    for name, judge in judging.judges.items():
        maker = maker_of(judge)
        if maker in makers:
            yield f"judging.judges.{name}", f"of one maker with `{makers[maker]}` ({maker}): judges must differ"
        makers.setdefault(maker, name)
    shared = makers.get(maker_of(judging.meta))
    if shared is not None:
        yield from _unwaived(judging.meta, shared, today)


def judging_warnings(judging: JudgingSettings) -> list[str]:
    """What may be done, but should be known before a run."""
    warnings = []
    if uses_live_judges(judging) and meta_shares_maker(judging):
        waiver = judging.meta.waiver
        warnings.append(
            f"the meta-judge is of one maker with a judge ({maker_of(judging.meta)}), waived until {waiver.expires} by "
            f"{waiver.owner}: {waiver.reason}; every verdict says meta_not_independent"
        )
    if judging.judges and judging.egress == "none":
        warnings.append("judging.egress is none: offline judges vote in place of the declared ones")
    if uses_live_judges(judging) and judging.egress == "full":
        warnings.append("judging.egress is full: cases are sent to the judges as they are stored")
    return warnings


def meta_shares_maker(judging: JudgingSettings) -> bool:
    """Whether the meta-judge is of the same maker as a judge; the settings were refused unless that is waived."""
    return bool(judging.judges) and maker_of(judging.meta) in {maker_of(j) for j in judging.judges.values()}


def uses_live_judges(judging: JudgingSettings) -> bool:
    """Whether cases leave this process; `egress = "none"` keeps them in, whatever is declared."""
    return bool(judging.judges) and judging.egress != "none"


def proof_label(settings: JudgeSettings) -> ProofLabel:
    """A provider's wire format at another address than the provider's own proves the format, not the provider."""
    official = FORMATS[settings.provider].base_url
    elsewhere = official is not None and settings.url is not None and _origin(settings.url) != _origin(official)
    return ProofLabel.OFFICIAL_SHAPE_FAKE if elsewhere or settings.test_double else ProofLabel.REAL_COMPONENT


def planned_label(judging: JudgingSettings) -> str:
    """What a run's verdicts will be labelled: `live judges` only when every judge is real."""
    if not uses_live_judges(judging):
        return "offline judges"
    real = {proof_label(j) for j in (*judging.judges.values(), judging.meta)} == {ProofLabel.REAL_COMPONENT}
    return "live judges" if real else "offline judges"


def maker_of(judge: JudgeSettings) -> str:
    """Whose model it is: one model behind two providers has one maker."""
    known = FORMATS.get(judge.provider)
    return (judge.family or (known.family if known else None) or judge.provider).casefold()


def _incomplete(name: str, judge: JudgeSettings) -> Iterator[tuple[str, str]]:
    known = FORMATS.get(judge.provider)
    if known is None:
        yield f"{name}.provider", f"one of {', '.join(sorted(FORMATS))}"
        return
    if not judge.model:
        yield f"{name}.model", "name the model"
    if known.base_url is None and not judge.url:
        yield f"{name}.url", "give the base URL of your model server, such as http://127.0.0.1:11434/v1"
    if judge.url is not None and not _URL.fullmatch(judge.url):
        yield f"{name}.url", "a plain http(s) URL without user, query or fragment"
    if known.family is None and not judge.family:
        yield f"{name}.family", "say whose model it is, such as llama or qwen: judges of one maker err together"
    if known.family is not None and judge.family not in (None, known.family):
        yield f"{name}.family", f"{judge.provider} serves {known.family}; leave it out"
    if judge.key is not None and not _REFERENCE.fullmatch(judge.key):
        yield f"{name}.key", "name where the key lies, env:NAME or file:PATH, never the key itself"
    if judge.key is None and known.base_url is not None:
        yield f"{name}.key", "name where the key lies: env:NAME or file:PATH"
    if (judge.usd_per_million_in is None) != (judge.usd_per_million_out is None):
        yield name, "give usd_per_million_in and usd_per_million_out, or neither"
    priced = judge.usd_per_million_in is not None or known.base_url is None
    if not priced and known_model(judge.provider, judge.model) is None:
        yield f"{name}.model", f"no price of `{judge.model}` is known: add usd_per_million_in and usd_per_million_out"


def _unwaived(meta: JudgeSettings, shared: str, today: date) -> Iterator[tuple[str, str]]:
    waiver = meta.waiver
    if not (waiver.reason or waiver.owner or waiver.expires):
        how = "choose another, or record a waiver in [judging.meta.waiver] with reason, owner and expires"
        yield "judging.meta.provider", f"of one maker with judge `{shared}` ({maker_of(meta)}): {how}"
    elif not (waiver.reason and waiver.owner and waiver.expires):
        yield "judging.meta.waiver", "needs reason, owner and expires"
    elif waiver.expires < today:
        yield "judging.meta.waiver.expires", f"expired on {waiver.expires}: choose another meta-judge, or renew it"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
