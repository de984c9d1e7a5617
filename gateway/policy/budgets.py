"""What a policy says about money and rates: sections `budgets`, `rates` and `prices`. No I/O.

Money is in whole micro-USD (millionths of a US dollar) and always rounded up. One budget is one account: all requests
that it covers draw on the same limit, whichever agent or domain they belong to; for a limit each, write one budget
each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from gateway.policy.reading import (
    IDENTIFIER,
    check_keys,
    read_choice,
    read_integer,
    read_list,
    read_object,
    read_text,
    refuse,
)

ANY = "*"
PERIODS = ("day", "month")
ACTIONS = ("block", "flag")
MAX_PRICE = 10**12
"""Micro-USD per 1M tokens, that is a dollar a token; more is a slip of the pen."""
MAX_TOKENS = 1 << 24
"""Of `default_max_tokens`; no model writes more in one answer."""
PRICE_TOKENS = 1_000_000
"""How many tokens a price is for."""

_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9.:-]{0,252}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,127}")


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent in a day or month."""

    id: str
    upstream_domain: str
    """Host name of the provider, or `*`."""
    agent: str
    """Agent id, or `*`."""
    period: str
    """`day` or `month` of the calendar in `zone`."""
    zone: str
    """IANA name: where the day begins."""
    limit_micro_usd: int
    action: str
    """`block`: what could go over the limit is refused; `flag`: it passes and is marked."""

    def covers(self, upstream_domain: str, agent: str) -> bool:
        """Whether a request of this agent to this domain draws on it."""
        return self.upstream_domain in (ANY, upstream_domain) and self.agent in (ANY, agent)


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-USD per 1M tokens. `cached`: of input tokens that the provider read from its cache."""

    input: int
    output: int
    cached: int


@dataclass(frozen=True, slots=True)
class Prices:
    """What models cost."""

    default_max_tokens: int
    """Written into requests that name no output limit of their own, since without one no bound on the cost exists."""
    unknown: Price | None
    """What a model that is not listed is taken to cost; None: it is refused where a budget applies."""
    models: Mapping[str, Price]
    """Model name as requests write it -> price."""

    def of(self, model: str) -> Price | None:
        """The price of a model, listed or not; None: it may not be used."""
        return self.models.get(model, self.unknown)


def read_budgets(value: Any, agents: frozenset[str]) -> tuple[Budget, ...]:
    """The section `budgets`. Raises PolicyError that names the budget."""
    budgets = tuple(_budget(entry, agents) for entry in read_list(value, "budgets"))
    seen: set[str] = set()
    for budget in budgets:
        if budget.id in seen:
            refuse(f"two budgets have the id `{budget.id}`")
        seen.add(budget.id)
    return budgets


def _budget(value: Any, agents: frozenset[str]) -> Budget:
    entry = read_object(value, "budgets[]")
    required = {"id", "upstream_domain", "agent", "period", "zone", "limit_micro_usd", "action"}
    where = f"budgets[{read_text(entry.get('id'), _ID, 'budgets[].id')}]"
    check_keys(entry, required, set(), where)
    if entry["upstream_domain"] != ANY:
        read_text(entry["upstream_domain"], _DOMAIN, f"{where}.upstream_domain")
    _check_agent(entry["agent"], agents, where)
    if not isinstance(entry["zone"], str) or entry["zone"] not in _zones():
        refuse(f"`{where}.zone` is no time zone known here (IANA names, such as Europe/Berlin; needs tzdata)")
    return Budget(
        id=entry["id"],
        upstream_domain=entry["upstream_domain"],
        agent=entry["agent"],
        period=read_choice(entry["period"], PERIODS, f"{where}.period"),
        zone=entry["zone"],
        limit_micro_usd=read_integer(entry["limit_micro_usd"], f"{where}.limit_micro_usd", 1),
        action=read_choice(entry["action"], ACTIONS, f"{where}.action"),
    )


def read_rates(value: Any, agents: frozenset[str]) -> Mapping[str, int]:
    """The section `rates`: agent id -> requests per minute; `*` is the rate of every agent that is not listed, each
    its own. An agent without either has no limit."""
    rates = {}
    for agent, rate in read_object(value, "rates").items():
        _check_agent(agent, agents, "rates")
        rates[agent] = read_integer(rate, f"rates[{agent}]", 1)
    return rates


def read_prices(value: Any, _: frozenset[str]) -> Prices:
    """The section `prices`."""
    entry = read_object(value, "prices")
    check_keys(entry, {"default_max_tokens", "unknown_price", "models"}, set(), "prices")
    cap = read_integer(entry["default_max_tokens"], "prices.default_max_tokens", 1)
    if cap > MAX_TOKENS:
        refuse(f"`prices.default_max_tokens` is at most {MAX_TOKENS}")
    unknown = entry["unknown_price"]
    models = {
        read_text(name, _MODEL, "prices.models"): _price(price, f"prices.models[{name}]")
        for name, price in read_object(entry["models"], "prices.models").items()
    }
    return Prices(cap, None if unknown == "deny" else _price(unknown, "prices.unknown_price"), models)


def _price(value: Any, where: str) -> Price:
    """Without `cached`, cached input costs what other input costs."""
    entry = read_object(value, where)
    check_keys(entry, {"input", "output"}, {"cached"}, where)
    price = {key: read_integer(amount, f"{where}.{key}") for key, amount in entry.items()}
    if max(price.values()) > MAX_PRICE:
        refuse(f"`{where}` is above {MAX_PRICE} micro-USD per {PRICE_TOKENS} tokens")
    return Price(**{"cached": price["input"], **price})


def check_sections(budgets: tuple[Budget, ...], prices: Prices | None) -> None:
    """Raises PolicyError for budgets that nothing could be held against."""
    if budgets and prices is None:
        refuse("`budgets` need `prices`")


def _check_agent(value: Any, agents: frozenset[str], where: str) -> None:
    if value != ANY and read_text(value, IDENTIFIER, f"{where}.agent") not in agents:
        refuse(f"`{where}` names an agent that is not in `agents`")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime", "posixrules", "Factory"}  # those differ from host to host
