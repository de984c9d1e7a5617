"""`aispm run … --dry-run`: what the campaign would take. Reads inventory and families; sends and writes nothing."""

from __future__ import annotations

from flows.inputs import check_inputs
from tasks.probing.estimate import Estimate, Range, declared_targets, estimate
from tasks.probing.plan import plan
from tasks.settings import Settings


def dry_run(flow: str, settings: Settings) -> Estimate:
    """The estimate for the declared, active targets. Raises ConfigError for bad input."""
    inventory, families = check_inputs(settings)
    targets = declared_targets(inventory)
    campaign = plan("dry-run", "dry-run", targets, families, settings.probing, full=flow == "weekly")
    return estimate(campaign, targets, families, settings.probing)


def estimate_lines(found: Estimate) -> list[str]:
    """For a terminal. Ranges are low / expected / at most."""
    money = "price unknown; name a table in `probing.prices`"
    if found.micro_usd is not None:
        money = " / ".join(f"{v / 1_000_000:,.2f}" for v in (found.micro_usd.low, found.micro_usd.expected))
        money += f" / {found.micro_usd.maximum / 1_000_000:,.2f} USD"
    return [
        f"Dry run   {found.targets} targets, {found.attempts:,} attempts; nothing was sent",
        f"Requests  {_range(found.requests)}   (low / expected / at most)",
        f"Tokens    {_range(found.tokens)}",
        f"Money     {money}",
        f"Judges    at most {found.judge_calls:,} attempts to be read by each",
        f"Time      about {max(1, round(found.seconds / 60))} min at 2 s a reply",
    ]


def _range(one: Range) -> str:
    return f"{one.low:,} / {one.expected:,} / {one.maximum:,}"
