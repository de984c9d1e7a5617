"""A dry run tells what a campaign takes, and a real one stays within it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.probing.campaign import run_batch
from tasks.probing.catalog import load_families
from tasks.probing.estimate import estimate
from tasks.probing.meters import Meters
from tasks.probing.plan import plan
from tasks.settings import ProbingSettings

FAMILIES = load_families()
TABLE = """schema: aispm.prices/1
as_of: 2026-11-01
models: {m: {input: 1000000, output: 2000000}}
"""


def test_what_a_campaign_really_took_lies_within_the_estimate(
    serve: Any, asset: Any, chat: Any, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(TABLE)
    settings = ProbingSettings(
        families=("direct_override", "persona_jailbreak"), templates_per_family=8, trials=2, seed=1, prices=prices
    )
    server = serve(lambda *_: chat("a reply", usage={"prompt_tokens": 150, "completion_tokens": 200}))
    target = asset(server.url)
    campaign = plan("r", "c", [target], FAMILIES, settings, full=False)
    told = estimate(campaign, [target], FAMILIES, settings)
    assert server.requests == []
    assert (told.targets, told.attempts) == (1, 32)
    meters = Meters(settings, [target])
    (batch,) = campaign.batches
    run_batch(batch, target, FAMILIES, settings, tmp_path / "b.jsonl", meters=meters)
    spent = meters.budget.spent
    assert told.requests.low <= spent.requests <= told.requests.maximum
    assert told.requests.expected == spent.requests
    assert told.tokens.low <= spent.tokens <= told.tokens.maximum
    assert told.micro_usd is not None
    assert told.micro_usd.low <= spent.micro_usd <= told.micro_usd.maximum


def test_limits_cap_it_and_without_a_price_no_money_is_named(asset: Any) -> None:
    settings = ProbingSettings(families=("direct_override",), templates_per_family=20, max_requests=7, max_tokens=900)
    target = asset("http://127.0.0.1:1/v1")
    campaign = plan("r", "c", [target], FAMILIES, settings, full=False)
    told = estimate(campaign, [target], FAMILIES, settings)
    assert told.requests.maximum == 7
    assert told.tokens.maximum == 900
    assert told.micro_usd is None
    slow = replace(target, props={**target.props, "limits": {"requests_per_minute": 1}})
    assert estimate(campaign, [slow], FAMILIES, replace(settings, max_requests=10**6)).seconds >= 20 * 60
