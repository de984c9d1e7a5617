"""The `[judging]` tables of `aispm.toml`: how votes become verdicts, and which live judges vote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class WaiverSettings:
    """Why a meta-judge of the same maker as a judge is accepted for now."""

    reason: str = ""
    owner: str = ""
    expires: date | None = None
    """The last day on which it holds; write it without quotes: 2027-03-31."""


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """One live judge, or the live meta-judge."""

    provider: str = ""
    """`anthropic`, `openai`, `google`, or `openai_compatible` for a model server of your own."""
    model: str = ""
    key: str | None = None
    """Where the key lies: env:NAME or file:PATH."""
    url: str | None = None
    """Base URL, for `openai_compatible` such as http://127.0.0.1:11434/v1. Any other address than a provider's own is
    taken for a test double, and what it says is labelled so."""
    family: str | None = None
    """Whose model it is (`llama`, `qwen`); needed for `openai_compatible`."""
    temperature: float = 0.0
    """Sent only where the model is known to take it."""
    max_output_tokens: int = 2_000
    """Thinking included."""
    usd_per_million_in: float | None = None
    """Your price, where `tasks/judging/data/models.csv` holds none or another."""
    usd_per_million_out: float | None = None
    test_double: bool = False
    """The address belongs to a test double: what it says is labelled so."""
    waiver: WaiverSettings = field(default_factory=WaiverSettings)
    """Of the meta-judge only."""


@dataclass(frozen=True, slots=True)
class JudgingSettings:
    meta_floor: float = 0.7
    """Meta confidence below this always goes to human review."""
    meta_when: str = "always"
    """When the meta-judge reads: `always`, or `disagreement` to spare it what three judges agree on."""
    alpha: float = 0.10
    """Share of automatic verdicts that may be wrong once calibrated (400 labelled attempts of one rubric)."""
    sequential: bool = False
    """Once calibrated, ask the third judge only where the first two do not settle it."""
    audit_share: float = 0.05
    """Of automatic verdicts, shown to a human to measure how good they are."""
    review_critical: bool = False
    """Whether a human confirms every verdict of a family with severity critical."""
    gold_rows: int = 30
    """Known answers mixed into each batch of 500 cases, to see whether the judges are sound."""
    judges: Mapping[str, JudgeSettings] = field(default_factory=dict)
    """Three live judges by name; none = the offline judges."""
    meta: JudgeSettings = field(default_factory=JudgeSettings)
    egress: str = "redacted"
    """What of a case live judges are sent: `redacted`, `full`, or `none` for offline judges only."""
    self_vendor: str = "count"
    """A judge on its own maker's model: `count` marks the vote, `exclude` leaves it out."""
    concurrency: int = 4
    """Requests in flight per judge."""
    timeout_s: float = 60.0
    batch: bool = False
    """Use the providers' batch interfaces: half the price, results within a day."""
    batch_poll_s: float = 30.0
    caching: bool = True
    """Ask for prompt caching where it must be asked for (Anthropic)."""
    max_requests: int = 20_000
    max_tokens: int = 50_000_000
    max_usd: float = 25.0
    """Hard limits of one run; cases beyond them are `error`, never a verdict."""
