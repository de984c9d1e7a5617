"""What a campaign will take, told before anything is sent: attempts, requests, tokens, money and time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from tasks.discovery.inventory import Inventory
from tasks.errors import ConfigError
from tasks.probing.catalog import Family
from tasks.probing.expand import canary_values, render
from tasks.probing.meters import Meters, declared_limits, limits_of
from tasks.probing.pictures import drawn
from tasks.probing.plan import Attempt, Plan
from tasks.records import Asset, ProofLabel
from tasks.settings import ProbingSettings
from tasks.targets import registry
from tasks.targets.http_template import checked
from tasks.targets.mcp_tool import named_tool
from tasks.targets.target import NEW_SESSION
from tasks.targets.wire import Pace

BYTES_PER_TOKEN = 4
"""Of English prose, as a rule of thumb; the maximum counts a token for every byte instead."""
SECONDS_PER_REQUEST = 2.0
"""Assumed for one reply."""


@dataclass(frozen=True, slots=True)
class Range:
    """`low`: every attempt ends after its first exchange with the shortest reply. `maximum`: every exchange takes all
    its tool rounds and tries, every reply is as long as it may be, and a prompt has a token for every byte."""

    low: int
    expected: int
    maximum: int

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.expected + other.expected, self.maximum + other.maximum)

    def capped(self, limit: int | None) -> Range:
        return self if limit is None else Range(*(min(limit, v) for v in (self.low, self.expected, self.maximum)))


@dataclass(frozen=True, slots=True)
class Estimate:
    targets: int
    attempts: int
    judge_calls: int
    """Attempts that judges may be asked about, at most."""
    requests: Range
    tokens: Range
    micro_usd: Range | None
    """None when the price of a target's model is not known."""
    seconds: int
    """Expected, at `SECONDS_PER_REQUEST` a reply or as the targets' limits allow; targets are asked side by side."""

    @property
    def document(self) -> dict[str, object]:
        return {"schema": "aispm.estimate/1", **asdict(self)}


def declared_targets(inventory: Inventory) -> list[Asset]:
    """What the inventory lets probes be sent to.

    Raises ConfigError with path and line when a target's `limits`, `http` template or MCP tool cannot work.
    """
    found = []
    for one in inventory.assets:
        if one.active and str(one.props.get("wire_format")) in registry:
            props = {**one.props, "url": one.url}
            asset = Asset(one.id, one.kind, one.name, props, True, True, ProofLabel.DECLARED)
            checks: dict[str, Callable[[Asset], object]] = {"limits": declared_limits}
            if props["wire_format"] == "http_template":
                checks["http"] = checked
            if props["wire_format"] == "mcp":
                checks["tool"] = named_tool
            for name, check in checks.items():
                try:
                    check(asset)
                except ConfigError as e:
                    raise ConfigError(str(e), inventory.path, one.prop_lines.get(name, one.line)) from None
            found.append(asset)
    return found


def estimate(
    campaign: Plan, targets: Sequence[Asset], families: Mapping[str, Family], settings: ProbingSettings
) -> Estimate:
    """Of a plan that was made for `targets`. Sends nothing."""
    meters = Meters(settings, targets)
    requests = tokens = money = Range(0, 0, 0)
    priced, judged, longest = True, 0, 0.0
    for target in targets:
        price = meters.price(target)
        mine = [a for b in campaign.batches if b.asset_id == target.asset_id for a in b.attempts if a.skip is None]
        asked = spent = Range(0, 0, 0)
        for attempt, count in _alike(mine):
            family = families[attempt.family_id]
            sent, prompt, reply = _sizes(family, attempt)
            asked += _times(sent, count)
            spent += _times(prompt + reply, count)
            judged += count * any(c.effect == "judge" for c in family.clauses)
            if price is not None:
                parts = zip(_each(prompt), _each(reply), strict=True)
                money += _times(Range(*(price.of(p, r) for p, r in parts)), count)
        priced = priced and price is not None
        requests, tokens = requests + asked, tokens + spent
        by_latency = asked.expected * SECONDS_PER_REQUEST / settings.concurrency
        longest = max(longest, by_latency, meters.limiter(target).seconds_for(asked.expected, spent.expected))
    limits = limits_of(settings)
    return Estimate(
        len(targets),
        campaign.attempts,
        judged,
        requests.capped(limits.requests),
        tokens.capped(limits.tokens),
        money.capped(limits.micro_usd) if priced and targets else None,
        round(longest),
    )


def _alike(attempts: Iterable[Attempt]) -> Iterable[tuple[Attempt, int]]:
    """One attempt of each template, and how many trials of it there are."""
    counts: dict[str, tuple[Attempt, int]] = {}
    for attempt in attempts:
        first, count = counts.get(attempt.template_sha256, (attempt, 0))
        counts[attempt.template_sha256] = (first, count + 1)
    return counts.values()


def _sizes(family: Family, attempt: Attempt) -> tuple[Range, Range, Range]:
    """Requests, prompt tokens and reply tokens of one attempt."""
    values = canary_values(family, b"estimate", attempt.attempt_id)
    rendered = render(family, family.seed(attempt.seed_id), attempt.transforms, values)
    size = len(json.dumps([rendered.turns, rendered.plant]).encode())
    size += sum(len(drawn(image)) * 4 // 3 + 4 for image in rendered.plant.get("images", ()))
    following = [role for role, _ in rendered.turns[1:]] + [""]
    exchanges = sum(
        role == "user" and after != "assistant"
        for (role, _), after in zip(rendered.turns, following, strict=True)
        if role != NEW_SESSION
    )
    if family.burst:
        exchanges = family.burst
    tools = bool(rendered.plant.get("tools"))
    rounds = family.tool_rounds if tools else 1
    most = exchanges * rounds * Pace().tries
    longest = family.max_tokens
    usual = exchanges * (2 if tools else 1)
    # Each later request carries all that was said before, tool results of up to the same size included.
    history = size + most * (longest * BYTES_PER_TOKEN + size)
    prompt = Range(size // BYTES_PER_TOKEN, usual * size // BYTES_PER_TOKEN, most * history)
    return Range(1, usual, most), prompt, Range(1, usual * longest // 2, most * longest)


def _each(one: Range) -> tuple[int, int, int]:
    return one.low, one.expected, one.maximum


def _times(one: Range, count: int) -> Range:
    return Range(one.low * count, one.expected * count, one.maximum * count)
