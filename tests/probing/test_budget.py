"""No limit is passed, by one request, token or micro-USD, however many workers and threads ask at once."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigError
from tasks.probing.campaign import run_batch
from tasks.probing.catalog import load_families
from tasks.probing.meters import Meters, limits_of
from tasks.probing.plan import plan
from tasks.probing.spool import lost_in
from tasks.settings import ProbingSettings
from tasks.targets.budget import Amount, Budget, Limits, Price, load_prices
from tasks.targets.wire import Pace

FAMILIES = load_families()
TABLE = """schema: aispm.prices/1
as_of: 2026-11-01
models:
  m: {input: 3000000, output: 15000000}
"""


@pytest.mark.parametrize("threads", [16, 64])
@pytest.mark.parametrize("seed", range(3))
def test_threads_never_pass_a_limit(threads: int, seed: int) -> None:
    budget = Budget(Limits(requests=700, tokens=60_000, micro_usd=900_000))
    over: list[Amount] = []

    def work(number: int) -> None:
        rng = random.Random(seed * 1_000 + number)
        while True:
            bound = Amount(1, rng.randint(1, 300), rng.randint(0, 4_000))
            if not budget.reserve(bound):
                return
            seen = budget.spent
            if seen.requests > 700 or seen.tokens > 60_000 or seen.micro_usd > 900_000:
                over.append(seen)
            budget.settle(bound, Amount(1, rng.randint(0, bound.tokens), rng.randint(0, bound.micro_usd)))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert over == []
    assert budget.exhausted
    assert budget.spent.requests > 100


@pytest.mark.parametrize(
    ("limit", "workers"),
    [({"max_requests": 7}, 16), ({"max_tokens": 9_000}, 16), ({"max_usd": 0.08}, 64)],
)
def test_a_campaign_stops_before_it_passes_a_limit(
    serve: Any, asset: Any, chat: Any, tmp_path: Path, limit: dict[str, Any], workers: int
) -> None:
    """By what really arrived at the target, whose replies are as long as they may be."""
    seen: list[int] = []
    lock = threading.Lock()

    def manners(path: str, body: dict[str, Any], n: int) -> Any:
        with lock:
            seen.append(body["max_tokens"])
        return chat("no", usage={"prompt_tokens": 100, "completion_tokens": body["max_tokens"]})

    server = serve(manners)
    prices = tmp_path / "prices.yaml"
    prices.write_text(TABLE)
    settings = ProbingSettings(
        families=("direct_override",), templates_per_family=40, concurrency=workers, seed=3, prices=prices, **limit
    )
    target = asset(server.url)
    (batch,) = plan("r", "c", [target], FAMILIES, settings, full=False).batches
    meters = Meters(settings, [target])
    rows = run_batch(batch, target, FAMILIES, settings, tmp_path / "s" / "b.jsonl", meters=meters, pace=Pace(tries=1))
    spent, limits = meters.budget.spent, limits_of(settings)
    assert spent == Amount(
        len(seen), 100 * len(seen) + sum(seen), sum(Price(3_000_000, 15_000_000).of(100, m) for m in seen)
    )
    assert 0 < spent.requests <= (limits.requests or spent.requests)
    assert spent.tokens <= (limits.tokens or spent.tokens)
    assert spent.micro_usd <= (limits.micro_usd or spent.micro_usd)
    assert len(rows) < len(batch.attempts)
    # A conversation that was cut short has no row; what it has cost is kept beside the rows, as its upper bound.
    lost = lost_in(tmp_path / "s" / "b.jsonl")
    assert sum(r["tries"] for r in rows) + lost.requests == spent.requests
    assert sum(r["cost_micro_usd"] or 0 for r in rows) + lost.micro_usd >= spent.micro_usd

    # What was spent counts on resume too.
    again = Meters(settings, [target])
    run_batch(batch, target, FAMILIES, settings, tmp_path / "s" / "b.jsonl", meters=again, pace=Pace(tries=1))
    assert again.budget.spent.requests == len(seen) <= (limits.requests or len(seen))
    assert again.budget.spent.tokens <= (limits.tokens or again.budget.spent.tokens)
    assert again.budget.spent.micro_usd <= (limits.micro_usd or again.budget.spent.micro_usd)


def test_silence_about_usage_keeps_the_reservation(serve: Any, asset: Any, answer: Any, tmp_path: Path) -> None:
    server = serve(lambda *_: answer(body=b'{"choices": [{"message": {"content": "no"}, "finish_reason": "stop"}]}'))
    settings = ProbingSettings(families=("prefix_injection",), templates_per_family=2, concurrency=1, seed=3)
    target = asset(server.url)
    (batch,) = plan("r", "c", [target], FAMILIES, settings, full=False).batches
    meters = Meters(settings, [target])
    run_batch(batch, target, FAMILIES, settings, tmp_path / "b.jsonl", meters=meters)
    # A token has at least one byte, so the bytes of a body bound its tokens.
    bodies = sum(int(headers["Content-Length"]) for *_, headers in server.requests)
    replies = sum(body["max_tokens"] for _, _, body, _ in server.requests)
    assert meters.budget.spent.tokens == bodies + replies


def test_money_is_whole_micro_usd_rounded_up() -> None:
    assert Price(1, 1).of(1, 0) == 1
    assert Price(2_500_000, 10_000_000).of(1_000, 100) == 3_500
    assert limits_of(ProbingSettings(max_usd=0.3)).micro_usd == 300_000


def test_unknown_prices_and_broken_tables_are_told_before_anything_is_sent(asset: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(TABLE)
    settings = ProbingSettings(max_usd=1.0, prices=prices)
    Meters(settings, [asset("http://127.0.0.1:1/v1")])
    with pytest.raises(ConfigError, match="price of `other`"):
        Meters(settings, [asset("http://127.0.0.1:1/v1", model="other")])
    with pytest.raises(ConfigError, match="price of `m`"):
        Meters(replace(settings, prices=None), [asset("http://127.0.0.1:1/v1")])
    for broken, why in (
        (TABLE.replace("/1", "/9"), "aispm.prices/1"),
        (TABLE.replace("2026-11-01", "soon"), "as_of"),
        (TABLE.replace("3000000", "3.5"), "whole micro-USD"),
        (TABLE.replace("input", "in"), "`input` and `output`"),
        (TABLE + "more: 1\n", "nothing else"),
    ):
        prices.write_text(broken)
        with pytest.raises(ConfigError, match=why):
            load_prices(prices)


def test_targets_with_one_address_and_key_share_the_strictest_limits(asset: Any) -> None:
    one = asset("http://127.0.0.1:1/v1", limits={"requests_per_minute": 60, "concurrency": 4})
    two = replace(one, asset_id="x", props={**one.props, "limits": {"requests_per_minute": 30}})
    other = replace(one, asset_id="y", props={**one.props, "credential": "env:ANOTHER"})
    meters = Meters(ProbingSettings(), [one, two, other])
    assert meters.limiter(one) is meters.limiter(two)
    assert meters.limiter(one) is not meters.limiter(other)
    assert meters.limiter(two).slots == 4
    for wrong in ({"rpm": 3}, {"concurrency": 0}, {"concurrency": "4"}, 7):
        with pytest.raises(ConfigError, match="limits"):
            Meters(ProbingSettings(), [asset("http://127.0.0.1:1/v1", limits=wrong)])
