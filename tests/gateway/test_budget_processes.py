"""Limits under load: many requests at once over several worker processes, some of them killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import aiohttp
import fakeredis
import pytest

from gateway.periods import minute_at

PRICES = {
    "default_max_tokens": 50,
    "unknown_price": "deny",
    "models": {"sim-1": {"input": 1_000_000, "output": 1_000_000, "cached": 1_000_000}},  # a micro-USD a token
}

BODY = {"model": "sim-1", "messages": [{"role": "user", "content": "Hello"}]}
BOUND = len(json.dumps({**BODY, "max_completion_tokens": 50}, separators=(",", ":"))) + 50
"""What one request reserves: its bytes as they go upstream, and 50 tokens of output."""


def budgets(limit):
    common = {"upstream_domain": "*", "agent": "*", "zone": "UTC", "action": "block"}
    return [
        {"id": "day", "period": "day", "limit_micro_usd": limit, **common},
        {"id": "month", "period": "month", "limit_micro_usd": 50 * limit, **common},
    ]


def start(gateway_factory, policy, workers, ledger="", **sections):
    policy.publish(prices=PRICES, **sections)
    gateway = gateway_factory()
    path = gateway.folder / "gateway.toml"
    text = path.read_text().replace("port = 0", f"port = 0\nworkers = {workers}", 1)
    path.write_text(text + f"[ledger]\nlease_seconds = 2\n{ledger}\n")
    return gateway.start()


def costing(tokens):
    """A reply that costs as many micro-USD. `None`: the whole bound of its request."""

    def reply(request, body):
        raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        used = tokens if tokens is not None else len(raw) + 50
        message = {"role": "assistant", "content": "Hello."}
        return {
            "id": "1", "object": "chat.completion", "created": 1, "model": "sim-1",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": used, "completion_tokens": 0},
        }  # fmt: skip

    return reply


async def send(gateway, count, connections, during=None, patience=60.0):
    """`count` requests, at most `connections` at once; each is sent again while the gateway says that it may succeed
    soon, or when its worker died. Returns the last status of each, and how often one was told to come back."""
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    statuses: Counter[int] = Counter()
    again = 0
    gate = asyncio.Semaphore(connections)
    until = time.monotonic() + patience
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # new connections, so that all workers get some
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:

        async def one():
            nonlocal again
            while True:
                try:
                    async with (
                        gate,
                        session.post(gateway.url + "/v1/chat/completions", json=BODY, headers=headers) as answer,
                    ):
                        status, wait = answer.status, answer.headers.get("Retry-After")
                        await answer.read()
                except aiohttp.ClientError:
                    status, wait = 0, "0"
                if wait is None or time.monotonic() > until:
                    statuses[status] += 1
                    return
                again += 1
                await asyncio.sleep(min(float(wait), 1.0) if status else 0.1)

        tasks = [asyncio.create_task(one()) for _ in range(count)]
        if during is not None:
            await during()
        await asyncio.gather(*tasks)
    return statuses, again


def bill(gateway):
    """(settled, lost with the requests that a kill interrupted, their number), of all workers and boots."""
    rows = gateway.rows()
    settled = sum(r["cost_micro_usd"] or 0 for r in rows if r["event_kind"] == "exchange")
    answered = {r["request_id"] for r in rows if r["event_kind"] == "exchange"}
    broken = [r for r in rows if r["event_kind"] == "open" and r["request_id"] not in answered]
    workers = {r["worker"] for r in rows if r["event_kind"] == "exchange" and r["http_status"] == 200}
    return settled, broken, workers


@pytest.fixture(params=[pytest.param("fakeredis", marks=pytest.mark.full), "redis"])
def redis_ledger(request):
    """A server that speaks Redis' protocol on a socket, and Redis itself where it is installed."""
    if request.param == "redis":
        yield f'kind = "redis"\nurl = "{request.getfixturevalue("redis_url")}"'
        return
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'kind = "redis"\nurl = "redis://127.0.0.1:{server.server_address[1]}/0"'
    server.shutdown()
    server.server_close()
    thread.join(10)


def check_thousand(gateway_factory, simulator, policy, cost, ledger="", count=1000, connections=1000, workers=4):
    limit = 137 * BOUND if cost is None else 137 * cost + BOUND - 1
    gateway = start(gateway_factory, policy, workers, ledger, budgets=budgets(limit))
    simulator.reply = costing(cost)
    statuses, _ = asyncio.run(send(gateway, count, connections))
    settled, broken, served = bill(gateway)
    assert statuses == {200: 137, 402: count - 137}
    assert broken == []
    assert settled <= limit
    assert limit - settled < BOUND  # not enough for one more
    assert len(simulator.requests) == 137
    assert len(served) > 1


def test_a_thousand_requests_over_four_processes_spend_the_limit_and_no_more(gateway_factory, simulator, policy):
    """Each costs all it may. The limit allows 137, and 137 are answered; the sum of their bills is the limit."""
    check_thousand(gateway_factory, simulator, policy, cost=None)


def test_requests_that_cost_less_than_their_bound_leave_less_than_one_bound_unspent(gateway_factory, simulator, policy):
    """They hold a multiple of what they spend; those who are told to come back get what is given back."""
    check_thousand(gateway_factory, simulator, policy, cost=40, count=400)


def test_a_ledger_in_redis_is_as_exact(gateway_factory, simulator, policy, redis_ledger):
    check_thousand(gateway_factory, simulator, policy, cost=None, ledger=redis_ledger, count=300, connections=100)


def check_kill(gateway_factory, simulator, policy, kills, count, connections):
    limit = 400 * BOUND
    gateway = start(gateway_factory, policy, 4, budgets=budgets(limit))
    answer = costing(BOUND // 2)

    async def slow(request, body):
        await asyncio.sleep(0.02)
        return answer(request, body)

    simulator.reply = slow

    async def kill():
        for n in range(kills):
            seen = len(simulator.requests)
            while len(simulator.requests) < seen + 60:
                await asyncio.sleep(0.01)
            children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children")
            pids = [int(pid) for pid in children.read_text().split()]
            os.kill(pids[n % len(pids)], signal.SIGKILL)

    statuses, again = asyncio.run(send(gateway, count, connections, during=kill))
    deadline = time.monotonic() + 30
    while len({r["worker"] for r in gateway.rows()}) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    settled, broken, _ = bill(gateway)
    sent = len(simulator.requests)
    assert set(statuses) == {200, 402}
    assert again > 0
    assert sent * (BOUND // 2) <= limit  # what the provider really did, whoever was killed
    assert settled <= limit
    # A kill costs the bounds of the requests it interrupted, and at most two leases of a hundredth.
    assert limit - settled < BOUND + kills * 2 * limit // 100 + (len(broken) + kills * 4) * BOUND


def test_a_worker_that_is_killed_spends_nothing_twice(gateway_factory, simulator, policy):
    """Its lease and the requests it was answering stay spent; everything else is still used up to the limit."""
    check_kill(gateway_factory, simulator, policy, kills=1, count=1000, connections=40)


@pytest.mark.full
def test_many_kills_spend_nothing_twice(gateway_factory, simulator, policy):
    check_kill(gateway_factory, simulator, policy, kills=6, count=2000, connections=200)


@pytest.mark.full
def test_eight_processes_are_as_exact(gateway_factory, simulator, policy):
    check_thousand(gateway_factory, simulator, policy, cost=None, workers=8)


@pytest.mark.full
@pytest.mark.parametrize("cost", [None, 1, 17, 90])
def test_more_requests_of_other_costs(gateway_factory, simulator, policy, cost):
    check_thousand(gateway_factory, simulator, policy, cost=cost, count=3000, connections=1000)


def test_a_rate_is_exact_over_two_workers(gateway_factory, simulator, policy):
    """Within one minute of the clock exactly as many pass as the rate allows, whichever worker they come to."""
    gateway = start(gateway_factory, policy, 2, rates={"*": 60})

    async def burst():
        headers = {"Authorization": f"Bearer {gateway.agent_key}"}
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one():
                url = gateway.url + "/v1/chat/completions"
                async with session.post(url, json=BODY, headers=headers) as answer:
                    return answer.status

            return Counter(await asyncio.gather(*(one() for _ in range(100))))

    while True:
        minute = minute_at(time.time())
        statuses = asyncio.run(burst())
        if minute.holds(time.time()):
            break
        simulator.requests.clear()
        time.sleep(minute_at(time.time()).end - time.time())  # start over in a minute that nothing was spent of
    assert statuses == {200: 60, 429: 40}
    assert len(bill(gateway)[2]) == 2
