"""Budgets and rates at a running gateway: what is reserved, settled, refused and told."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import httpx
import openai
import pytest
from aiohttp import web

from gateway.__main__ import main
from gateway.errors import ConfigError
from gateway.ledger.leases import Charge, Ledger
from gateway.ledger.ledger import LedgerError, Standing
from gateway.ledger.memory import MemoryStore
from gateway.limit_check import check_limits, check_store
from gateway.periods import minute_at
from gateway.policy.budgets import Budget, Price, Prices
from gateway.policy.bundle import Agent, Policy
from gateway.purchase import Purchase, price_of
from gateway.reasons import Refusal
from gateway.settings import load_settings
from gateway.spending import Spending

IN, OUT, CACHED = 1_000_000, 4_000_000, 250_000  # micro-USD per 1M tokens: 1, 4 and a quarter a token
PRICES = {
    "default_max_tokens": 100,
    "unknown_price": "deny",
    "models": {"sim-1": {"input": IN, "output": OUT, "cached": CACHED}},
}


def budget(limit, **more):
    return {
        "id": "total",
        "upstream_domain": "*",
        "agent": "*",
        "period": "day",
        "zone": "Europe/Berlin",
        "limit_micro_usd": limit,
        "action": "block",
        **more,
    }


@pytest.fixture
def start(gateway_factory, simulator, policy):
    """Starts a gateway with these sections in its policy."""

    def run(upstream=None, **sections):
        policy.publish(**{"prices": PRICES, **sections})
        return gateway_factory(upstream).start()

    return run


def used(prompt, completion, cached=None, **reply):
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, **details}, **reply}


def exchanges(gateway):
    return [row for row in gateway.rows() if row["event_kind"] == "exchange"]


def last(gateway):
    return exchanges(gateway)[-1]


def budget_rows(gateway):
    return [row for row in gateway.rows() if row["event_kind"] == "budget"]


def ledger_row(gateway):
    """(spent, leased) of all accounts, as every worker sees it."""
    db = sqlite3.connect(gateway.spool / "ledger.sqlite")
    try:
        return db.execute("select sum(spent), sum(lease) from shares where account like 'budget %'").fetchone()
    finally:
        db.close()


# -- prices -----------------------------------------------------------------------------------------------------------


def test_a_price_is_by_kind_of_token_and_rounded_up():
    price = Price(input=150_000, output=600_000, cached=75_000)
    assert price_of(price, 1_000_000, 0) == 150_000
    assert price_of(price, 1_000_000, 1_000_000, 400_000) == 90_000 + 30_000 + 600_000
    assert price_of(price, 1, 0) == 1
    assert price_of(price, 0, 0) == 0
    assert price_of(price, 7, 3, 7) == 3  # 0.525 + 1.8
    assert price_of(price, 5, 0, 9) == 1  # more cached than sent: all of it
    assert price_of(Price(10**12, 10**12, 10**12), 1 << 53, 1 << 53) == 1 << 53


# -- one request ------------------------------------------------------------------------------------------------------


def test_a_request_reserves_its_bound_and_is_settled_on_what_was_counted(start, simulator):
    gateway = start(budgets=[budget(100_000)])
    simulator.reply = {**simulator.completion(), **used(20, 5, cached=8)}
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    raw = simulator.requests[-1][1]
    assert json.loads(raw)["max_completion_tokens"] == 100
    row = last(gateway)
    assert row["reserved_micro_usd"] == len(raw) + 400
    assert row["cost_micro_usd"] == 12 + 2 + 20
    assert (row["tokens_in"], row["tokens_out"], row["tokens_cached"]) == (20, 5, 8)
    assert row["usage_source"] == "provider"
    assert budget_rows(gateway) == [], "the exchange says it all"
    gateway.stop()
    assert ledger_row(gateway) == (34, 0)


def test_the_clients_own_limit_stands_and_counts_for_each_choice(start, simulator):
    gateway = start(budgets=[budget(100_000)])
    gateway.post(gateway.chat("Hello", max_tokens=7, n=3))
    raw = simulator.requests[-1][1]
    assert "max_completion_tokens" not in json.loads(raw)
    assert last(gateway)["reserved_micro_usd"] == len(raw) + 3 * 7 * 4


def test_a_budget_that_covers_others_changes_nothing(start, simulator):
    gateway = start(budgets=[budget(1, upstream_domain="api.example.com")])
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    assert "max_completion_tokens" not in json.loads(simulator.requests[-1][1])
    row = last(gateway)
    assert row["cost_micro_usd"] == 3 + 20  # known all the same, since the model has a price
    assert row["reserved_micro_usd"] is None
    assert budget_rows(gateway) == []


@pytest.mark.parametrize(("period", "code"), [("day", "POLICY.BUDGET_DAY"), ("month", "POLICY.BUDGET_MONTH")])
def test_what_could_go_over_the_limit_is_refused_unasked_and_no_client_tries_again(start, simulator, period, code):
    gateway = start(budgets=[budget(300, period=period)])
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.agent_key)
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="sim-1", messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.status_code == 402
    assert refused.value.code == code
    assert "retry-after" not in refused.value.response.headers
    assert simulator.requests == []
    (row,) = exchanges(gateway)
    assert (row["decision"], row["reason_code"], row["http_status"]) == ("block", code, 402)
    assert row["cost_micro_usd"] == 0
    (event,) = budget_rows(gateway)
    assert (event["decision"], event["reason_code"], event["rule_id"]) == ("block", code, "total")
    assert event["reserved_micro_usd"] > 300


def test_the_strictest_of_several_budgets_decides_and_nothing_is_taken_from_the_others(start, simulator):
    gateway = start(
        budgets=[budget(10_000), budget(600, id="agent-month", agent="support", period="month", zone="UTC")]
    )
    simulator.reply = {**simulator.completion(), **used(100, 50)}
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    answer = gateway.post(gateway.chat("Hello"))
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "POLICY.BUDGET_MONTH"
    assert [e["rule_id"] for e in budget_rows(gateway)] == ["agent-month"]
    gateway.stop()
    assert ledger_row(gateway) == (600, 0)  # 300 in each


def test_a_budget_that_flags_lets_pass_and_marks(start, simulator):
    gateway = start(budgets=[budget(600, action="flag")])
    simulator.reply = {**simulator.completion(), **used(150, 50)}
    assert [gateway.post(gateway.chat("Hello")).status_code for _ in range(3)] == [200, 200, 200]
    rows = exchanges(gateway)
    assert [r["decision"] for r in rows] == ["allow", "flag", "flag"]
    assert rows[1]["reason_code"] == "POLICY.BUDGET_DAY"
    told = budget_rows(gateway)
    assert [(e["decision"], e["rule_id"], e["cost_micro_usd"]) for e in told] == [("flag", "total", 350)] * 2
    assert [e["request_id"] for e in told] == [r["request_id"] for r in rows[1:]]
    gateway.stop()
    assert ledger_row(gateway) == (1050, 0)


def test_a_model_without_a_price_is_refused_or_costs_the_ceiling(start, simulator, policy):
    gateway = start(budgets=[budget(100_000)])
    answer = gateway.post({**gateway.chat("Hello"), "model": "new-model"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "POLICY.BUDGET_DAY:price")
    assert simulator.requests == []
    assert "new-model" not in json.dumps(gateway.rows(), default=str)
    gateway.stop()
    gateway = start(budgets=[budget(100_000)], prices={**PRICES, "unknown_price": {"input": 2 * IN, "output": OUT}})
    assert gateway.post({**gateway.chat("Hello"), "model": "new-model"}).status_code == 200
    assert last(gateway)["cost_micro_usd"] == 2 * 3 + 4 * 5


def test_what_cost_more_than_was_reserved_is_booked_and_told(start, simulator):
    gateway = start(budgets=[budget(5_000)])
    simulator.reply = {**simulator.completion(), **used(4_000, 240)}
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    (event,) = budget_rows(gateway)
    assert (event["decision"], event["reason_detail"], event["cost_micro_usd"]) == ("flag", "overrun", 4_960)
    assert gateway.post(gateway.chat("Hello")).status_code == 402
    gateway.stop()
    assert ledger_row(gateway) == (4_960, 0)


# -- what the provider did not count ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, *(pytest.param(s, marks=pytest.mark.full) for s in (401, 429, 500))])
def test_an_error_of_the_provider_costs_nothing(start, simulator, status):
    gateway = start(budgets=[budget(100_000)])
    simulator.status, simulator.reply = status, {"error": {"message": "no"}}
    gateway.post(gateway.chat("Hello"))
    row = last(gateway)
    assert row["cost_micro_usd"] == 0
    assert row["usage_source"] is None
    gateway.stop()
    assert ledger_row(gateway) == (0, 0)


def test_a_provider_that_cannot_be_reached_costs_nothing(start):
    gateway = start("http://127.0.0.1:1/v1", budgets=[budget(100_000)])
    assert gateway.post(gateway.chat("Hello")).status_code == 502
    assert last(gateway)["cost_micro_usd"] == 0


def test_a_provider_that_answers_no_more_may_have_done_the_work(start, simulator):
    """Nobody knows what it did, so all that was reserved is spent."""
    gateway = start(budgets=[budget(100_000)])
    simulator.reply = lambda request, body: request.transport.close() or {}
    assert gateway.post(gateway.chat("Hello")).status_code == 502
    row = last(gateway)
    assert row["cost_micro_usd"] == row["reserved_micro_usd"] > 400
    assert row["usage_source"] == "reserved"


def test_a_reply_without_counts_is_counted_by_its_bytes(start, simulator):
    gateway = start(budgets=[budget(100_000)])
    simulator.reply = {k: v for k, v in simulator.completion("Hi").items() if k != "usage"}
    gateway.post(gateway.chat("Hello"))
    row = last(gateway)
    assert row["usage_source"] == "counted"
    assert row["tokens_out"] == 100  # no more than its limit
    assert row["cost_micro_usd"] == row["reserved_micro_usd"]


def test_a_reply_that_is_blocked_was_paid_for_all_the_same(start, simulator):
    gateway = start(budgets=[budget(100_000)])
    simulator.reply = {**simulator.completion(None, tool_calls=[
        {"id": "1", "type": "function", "function": {"name": "rm", "arguments": "{}"}}]), **used(30, 10)}  # fmt: skip
    assert gateway.post(gateway.chat("Hello")).status_code == 403
    row = last(gateway)
    assert (row["decision"], row["cost_micro_usd"]) == ("block", 70)


# -- streams ----------------------------------------------------------------------------------------------------------


def usage_chunk(simulator, prompt, completion):
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "sim-1", "choices": []}
    return f"data: {json.dumps({**value, **used(prompt, completion)})}\n\n"


def stream_of(gateway, **more):
    answer = gateway.post(gateway.chat("Hello", stream=True, **more))
    lines = [line[6:] for line in answer.text.split("\n\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("asked", [True, False, pytest.param(None, marks=pytest.mark.full)])
def test_the_counts_of_a_stream_are_asked_for_and_shown_to_those_who_asked(start, simulator, asked):
    gateway = start(budgets=[budget(100_000)])
    chunk = simulator.chunk
    simulator.reply = [
        chunk({"role": "assistant", "content": "Hello"}), chunk({}, "stop"), usage_chunk(simulator, 20, 5),
        "data: [DONE]\n\n",
    ]  # fmt: skip
    options = {} if asked is None else {"stream_options": {"include_usage": asked}}
    events = stream_of(gateway, **options)
    assert json.loads(simulator.requests[-1][1])["stream_options"] == {"include_usage": True}
    assert any("usage" in e for e in events) is (asked is True)
    assert all(e["choices"] or asked for e in events)
    row = last(gateway)
    assert (row["cost_micro_usd"], row["usage_source"]) == (40, "provider")


def test_a_stream_that_breaks_off_is_settled_on_what_came(start, simulator):
    gateway = start(budgets=[budget(100_000)])
    chunk = simulator.chunk
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "get_balance", "arguments": "{}"}}
    simulator.reply = [chunk({"role": "assistant", "content": "Grüße"}), chunk({"tool_calls": [call]}), "<cut>"]
    stream_of(gateway)
    sent = len(simulator.requests[-1][1])
    row = last(gateway)
    assert row["usage_source"] == "counted"
    assert (row["tokens_in"], row["tokens_out"]) == (sent, 7 + len("get_balance{}"))
    assert row["cost_micro_usd"] == sent + 4 * 20
    gateway.stop()
    assert ledger_row(gateway) == (row["cost_micro_usd"], 0)


def test_a_client_that_leaves_a_stream_pays_for_what_came(start, simulator):
    gateway = start(budgets=[budget(100_000)])

    async def endless(request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:  # until the gateway closes the connection
            await response.write(simulator.chunk({"content": "word " * 20}).encode())
            await asyncio.sleep(0.02)

    simulator.reply = endless
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    body = gateway.chat("Hello", stream=True, max_tokens=4000)
    with httpx.stream("POST", gateway.url + "/v1/chat/completions", json=body, headers=headers) as answer:
        next(answer.iter_bytes())
    deadline = time.monotonic() + 60
    while not (rows := exchanges(gateway)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert rows[0]["usage_source"] == "counted"
    assert 0 < rows[0]["cost_micro_usd"] <= rows[0]["reserved_micro_usd"]


# -- rates ------------------------------------------------------------------------------------------------------------


def within_a_minute(run):
    """What `run` returns, once it did not see the minute change."""
    while True:
        minute = minute_at(time.time())
        found = run()
        if minute.holds(time.time()):
            return found


def test_requests_over_the_rate_are_told_when_to_come_back(start, simulator):
    gateway = start(rates={"support": 3})
    answers = within_a_minute(lambda: [gateway.post(gateway.chat("Hello")) for _ in range(5)])
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert answers[4].json()["error"]["code"] == "POLICY.RATE"
    assert 1 <= int(answers[4].headers["Retry-After"]) <= 60
    row = last(gateway)
    assert (row["decision"], row["reason_code"], row["agent_id"]) == ("block", "POLICY.RATE", "support")
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    within_a_minute(lambda: [gateway.post(gateway.chat("Hello")) for _ in range(4)])
    assert httpx.get(gateway.url + "/v1/models", headers=headers).status_code == 429
    assert gateway.post(gateway.chat("Hello"), headers={"Authorization": "Bearer no"}).status_code == 401


def test_agents_that_are_not_listed_have_the_common_rate_each_its_own():
    async def run():
        policy = make_policy(rates={"a": 1, "*": 2})
        spending = Spending(Ledger(MemoryStore(), "w", 6.0, lambda: 100.0), lambda: 100.0)
        for agent, rate in (("a", 1), ("b", 2), ("c", 2)):
            for _ in range(rate):
                await spending.admit(policy, agent)
            with pytest.raises(Refusal) as refused:
                await spending.admit(policy, agent)
            assert (refused.value.code, refused.value.retry_after) == ("POLICY.RATE", 20)
        await spending.ledger.close()

    asyncio.run(run())


# -- periods, policies, the ledger itself -----------------------------------------------------------------------------


def make_policy(budgets=(), rates=None, prices=None):
    moment = datetime(2026, 11, 25, tzinfo=ZoneInfo("UTC"))
    agents = tuple(Agent(name, "0" * 64, None, False) for name in "abc")
    known = {f.name: None for f in Policy.__dataclass_fields__.values()}
    return Policy(**{
        **known, "tenant": "nimbus", "issued": moment, "expires": moment, "agents": agents,
        "budgets": tuple(budgets), "rates": rates or {}, "prices": prices,
    })  # fmt: skip


def test_a_new_day_begins_at_midnight_of_the_zone_also_when_clocks_change():
    """25 October 2026 has 25 hours in Berlin: the second 02:30 and 23:59 still belong to it."""
    zone = ZoneInfo("Europe/Berlin")
    clock = [0.0]
    day = Budget("day", "*", "*", "day", "Europe/Berlin", 1000, "block")
    month = Budget("month", "*", "*", "month", "Europe/Berlin", 2500, "block")
    policy = make_policy([day, month], prices=Prices(100, Price(IN, OUT, CACHED), {}))

    async def run():
        spending = Spending(Ledger(MemoryStore(), "w", 6.0, lambda: clock[0]), lambda: clock[0])

        async def spend(when, fold=0):
            clock[0] = datetime.fromisoformat(when).replace(tzinfo=zone, fold=fold).timestamp()
            purchase = spending.quote(policy, "a", "example.com", "m")
            await spending.reserve(policy, purchase, 200, 200)  # 1,000
            purchase.bill((200, 200, 0), complete=True, received=0, free=False)
            spending.settle(purchase)

        async def refused(when, code, fold=0):
            with pytest.raises(Refusal) as found:
                await spend(when, fold)
            assert (found.value.code, found.value.detail) == (code, None)

        await spend("2026-10-25T00:00")
        for when, fold in (("2026-10-25T02:30", 0), ("2026-10-25T02:30", 1), ("2026-10-25T23:59:59", 0)):
            await refused(when, "POLICY.BUDGET_DAY", fold)
        await spend("2026-10-26T00:00")
        await refused("2026-10-27T12:00", "POLICY.BUDGET_MONTH")
        await spend("2026-11-01T00:00")
        assert spending.standings(policy) == [("day", 1000, 0, 1000), ("month", 2500, 0, 1015)]
        await spending.ledger.give_back()
        assert spending.standings(policy) == [("day", 1000, 1000, 0), ("month", 2500, 1000, 0)]
        await spending.ledger.close()

    asyncio.run(run())


def test_a_request_that_runs_over_midnight_is_settled_on_the_day_it_began():
    clock = [datetime(2026, 11, 25, 23, 59, 59, tzinfo=ZoneInfo("UTC")).timestamp()]
    policy = make_policy(
        [Budget("day", "*", "*", "day", "UTC", 1000, "block")], prices=Prices(1, Price(IN, IN, IN), {})
    )

    async def run():
        store = MemoryStore()
        spending = Spending(Ledger(store, "w", 6.0, lambda: clock[0]), lambda: clock[0])
        first = spending.quote(policy, "a", "d", "m")
        await spending.reserve(policy, first, 900, 100)
        clock[0] += 2
        second = spending.quote(policy, "a", "d", "m")
        await spending.reserve(policy, second, 900, 100)
        spending.settle(first)
        await spending.ledger.give_back()
        return {name: [(r.spent, r.lease) for r in rows.values()] for name, rows in store._accounts.items()}

    assert asyncio.run(run()) == {
        "budget nimbus day day UTC 2026-11-25": [(1000, 0)],
        "budget nimbus day day UTC 2026-11-26": [(0, 1000)],
    }


def test_a_new_policy_changes_the_limit_at_once(start, simulator, policy):
    gateway = start(budgets=[budget(100_000)])
    simulator.reply = {**simulator.completion(), **used(20, 5)}
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    policy.publish(prices=PRICES, budgets=[budget(400)])
    gateway.rows()  # reloads
    assert gateway.post(gateway.chat("Hello")).status_code == 402
    policy.publish(prices=PRICES, budgets=[budget(10_000)])
    gateway.rows()
    assert gateway.post(gateway.chat("Hello")).status_code == 200


def test_a_ledger_that_does_not_answer_lets_nothing_through(start, simulator):
    gateway = start(budgets=[budget(600)], rates={"*": 50})
    db = sqlite3.connect(gateway.spool / "ledger.sqlite", isolation_level=None)
    db.execute("begin exclusive")
    answer = gateway.post(gateway.chat("Hello"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SYSTEM.BACKEND:ledger")
    assert simulator.requests == []
    db.execute("rollback")
    db.close()
    deadline = time.monotonic() + 20
    while gateway.post(gateway.chat("Hello")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    reasons = [r["reason_code"] for r in exchanges(gateway)]
    assert reasons == ["SYSTEM.BACKEND"] * (len(reasons) - 1) + [None]


def test_budgets_last_over_a_restart(start, simulator, gateway_factory):
    gateway = start(budgets=[budget(700)])
    simulator.reply = {**simulator.completion(), **used(200, 50)}
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    gateway.stop()
    gateway.start()
    assert gateway.post(gateway.chat("Hello")).status_code == 402


def test_the_operators_port_shows_every_budget(gateway_factory, policy, simulator):
    policy.publish(budgets=[budget(100_000), budget(7, id="other", agent="support", period="month")], prices=PRICES)
    gateway = gateway_factory()
    path = gateway.folder / "gateway.toml"
    path.write_text(
        path.read_text().replace("[policy]", "[ledger]\nlease_seconds = 0.3\n[metrics]\nport = 0\n[policy]")
    )
    policy.publish(budgets=[budget(100_000), budget(700, id="other", agent="support", period="month")], prices=PRICES)
    gateway.start()
    simulator.reply = {**simulator.completion(), **used(20, 5)}
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    assert gateway.post(gateway.chat("Hello", max_tokens=200)).status_code == 402

    def gauges():
        text = httpx.get(gateway.ready["metrics"] + "/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("aispm_gateway_budget_micro_usd{")]
        return {line.partition("{")[2].rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}

    deadline = time.monotonic() + 20
    while gauges()['budget="other",amount="spent"}'] != 40 or gauges()['budget="total",amount="held"}'] != 0:
        assert time.monotonic() < deadline, gauges()
        time.sleep(0.05)
    assert gauges()['budget="total",amount="limit"}'] == 100_000
    assert gauges()['budget="total",amount="spent"}'] == 40


# -- start ------------------------------------------------------------------------------------------------------------


class Blind(MemoryStore):
    """Grants everything."""

    def update(self, holder, shares, expires, now):
        return tuple(Standing(share.lease, 0, 0, 0, False) for share in shares)


def test_the_self_test_finds_a_ledger_or_a_budget_that_does_not_limit(monkeypatch):
    charge = Charge("a", 1, 1, 1)
    check_store(MemoryStore(), charge)
    check_store(MemoryStore(), charge._replace(force=True))
    with pytest.raises(ConfigError, match="does not limit"):
        check_store(Blind(), charge)
    with pytest.raises(ConfigError, match="does not limit"):
        check_store(Blind(), charge._replace(force=True))
    policy = make_policy(
        [
            Budget("one", "*", "a", "day", "UTC", 5, "block"),
            Budget("two", "example.com", "*", "month", "UTC", 5, "flag"),
        ],
        rates={"a": 1, "*": 10**9},
    )
    check_limits(policy, time.time())
    monkeypatch.setattr("gateway.limit_check.MemoryStore", Blind)
    with pytest.raises(ConfigError, match="budget one does not limit"):
        check_limits(policy, time.time())
    with pytest.raises(ConfigError, match=r"rate of \S+ does not limit"):
        check_limits(make_policy(rates={"a": 1}), time.time())


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('kind = "oracle"', "kind"),
        ('kind = "redis"', "url"),
        ('url = "redis://127.0.0.1/0"', "url"),
        ('kind = "memory"\nfile = "x"', "file"),
        ("lease_seconds = 0", "lease_seconds"),
    ],
)
def test_ledger_settings_that_make_no_sense_are_refused(gateway_factory, table, says):
    gateway = gateway_factory()
    path = gateway.folder / "gateway.toml"
    path.write_text(path.read_text() + f"[ledger]\n{table}\n")
    with pytest.raises(ConfigError, match=says):
        load_settings(path)


def test_a_ledger_in_memory_is_for_one_worker(gateway_factory, simulator):
    gateway = gateway_factory()
    path = gateway.folder / "gateway.toml"
    path.write_text(path.read_text() + '[ledger]\nkind = "memory"\n')
    gateway.start()
    assert gateway.post(gateway.chat("Hello")).status_code == 200
    assert not (gateway.spool / "ledger.sqlite").exists()
    path.write_text(path.read_text().replace("port = 0", "port = 0\nworkers = 2", 1))
    with pytest.raises(ConfigError, match="one worker"):
        load_settings(path)


def test_a_gateway_whose_ledger_cannot_be_opened_does_not_start(gateway_factory, capsys):
    gateway = gateway_factory()
    path = gateway.folder / "gateway.toml"
    path.write_text(path.read_text() + '[ledger]\nfile = "no/such/ledger"\n')
    assert main(["--config", str(path), "--check"]) == 1
    assert "cannot be opened" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="cannot be opened"):
        gateway.start()


def test_a_purchase_that_is_never_billed_spends_what_it_reserved():
    purchase = Purchase((), None)
    purchase.bill((1, 1, None), complete=True, received=0, free=False)
    assert purchase.cost is None  # no price is known, and no budget needs one
    assert purchase.tokens == (1, 1, None)
    assert issubclass(LedgerError, Exception)
