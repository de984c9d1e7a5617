"""What requests may cost and what they did cost: budgets and rates of the policy, held against the ledger.

A request reserves the most it can cost before it goes upstream and is settled on what the provider counted. The most
is: one token for each byte of its body, since no tokenizer makes more of a text, and its output limit times its
choices. Not in it: what a provider adds by itself (the instructions it writes around tools). Such an overrun is booked
when it is known, and an event tells of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.errors import ConfigError
from gateway.ledger.leases import Charge, ExhaustedError, Ledger, Reservation
from gateway.ledger.ledger import LedgerError, Refused, Share, Store
from gateway.ledger.memory import MemoryStore
from gateway.periods import Calendar, minute_at
from gateway.policy.budgets import ANY, PRICE_TOKENS, Budget, Price
from gateway.policy.bundle import Policy
from gateway.reasons import Refusal

MAX_COST = 1 << 53
"""Micro-USD; no limit is as high, and every store can hold it."""
KEEP_BUDGET = 7 * 86400
"""Seconds for which the account of a past day or month is kept: running requests settle on it, people look it up."""
KEEP_RATE = 120
RETRY_SECONDS = 1
"""After which a request may be tried again that was refused because running ones hold what is left, or because the
ledger did not answer."""
CODES = {"day": "POLICY.BUDGET_DAY", "month": "POLICY.BUDGET_MONTH"}


class Standing(NamedTuple):
    """How a budget stands, as far as this worker knows. Micro-USD."""

    budget: str
    limit: int
    spent: int
    held: int
    """Reserved or leased, by all workers."""


def price_of(price: Price, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> int:
    """Micro-USD, rounded up; `tokens_cached` are part of `tokens_in`."""
    cached = min(tokens_cached, tokens_in)
    total = (tokens_in - cached) * price.input + cached * price.cached + tokens_out * price.output
    return min(-(-total // PRICE_TOKENS), MAX_COST)


@dataclass(slots=True)
class Purchase:
    """One request's money, from its quote to its bill. Amounts in micro-USD."""

    budgets: tuple[Budget, ...]
    price: Price | None
    """None: not known, and no budget covers the request."""
    input_bound: int = 0
    """Tokens."""
    output_bound: int | None = None
    """Tokens, of all choices together; None: the request sets no bound."""
    reserved: int = 0
    reservation: Reservation | None = None
    cost: int | None = None
    refused: tuple[Budget, str | None] | None = None
    """The budget that refused it, and the finer cause."""
    usage_source: str | None = None
    tokens: tuple[int | None, int | None, int | None] = (None, None, None)
    settled: bool = False

    @property
    def flagged(self) -> Budget | None:
        """The first budget whose limit it went beyond, which that budget only flags."""
        over = self.reservation.over if self.reservation is not None else ()
        return next((b for b, beyond in zip(self.budgets, over, strict=False) if beyond), None)

    def bill(
        self, tokens: tuple[int | None, int | None, int | None], *, complete: bool, received: int, free: bool
    ) -> None:
        """Work out the cost, once.

        `tokens`: in, out and cached as the provider counted them. `complete`: the reply came whole. `received`: bytes
        of output that came, the count where the provider's is missing. `free`: the provider did not do the work.
        """
        if self.cost is not None or self.usage_source is not None:
            return
        tokens_in, tokens_out, cached = tokens
        if free:
            self.cost = 0 if self.price is not None else None
            return
        self.usage_source = "provider"
        if tokens_in is None or tokens_out is None or not complete:
            counted = received if self.output_bound is None else min(received, self.output_bound)
            if tokens_in is None:
                tokens_in = self.input_bound
            tokens_out = max(tokens_out or 0, counted)
            self.usage_source = "counted"
        self.tokens = tokens_in, tokens_out, cached
        if self.price is not None:
            self.cost = price_of(self.price, tokens_in, tokens_out, cached or 0)

    def rows(self, part: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
        """One `budget` event for each budget that covers the request, made by `gateway.events.Exchange.part`."""
        if self.refused is not None:
            budget, detail = self.refused
            return [
                part(
                    "budget",
                    decision="block",
                    reason_code=CODES[budget.period],
                    reason_detail=detail,
                    rule_id=budget.id,
                    severity="medium",
                    reserved_micro_usd=self.reserved,
                )
            ]
        if self.reservation is None:
            return []
        overrun = self.cost is not None and self.cost > self.reserved
        return [
            part(
                "budget",
                decision="flag" if over or overrun else "allow",
                reason_code=CODES[budget.period] if over or overrun else None,
                reason_detail="overrun" if overrun else None,
                rule_id=budget.id,
                severity="medium" if over or overrun else None,
                reserved_micro_usd=self.reserved,
                cost_micro_usd=self.cost,
            )
            for budget, over in zip(self.budgets, self.reservation.over, strict=True)
        ]


@dataclass(slots=True)
class Spending:
    """The limits of one worker. `clock` gives seconds since 1970."""

    ledger: Ledger
    clock: Callable[[], float]
    _calendar: Calendar = field(default_factory=Calendar)
    _policy: Policy | None = None
    _covering: dict[tuple[str, str], tuple[Budget, ...]] = field(default_factory=dict)

    async def admit(self, policy: Policy, agent: str) -> None:
        """Count one request of `agent`. Raises Refusal `POLICY.RATE`, with the time until the next minute, or
        `SYSTEM.BACKEND` when the ledger does not answer."""
        charge, end = rate_charge(policy, agent, self.clock())
        if charge is None:
            return
        try:
            reservation = self.ledger.try_reserve((charge,)) or await self.ledger.reserve((charge,))
        except ExhaustedError:
            raise Refusal("POLICY.RATE", retry_after=max(1, math.ceil(end - self.clock()))) from None
        except LedgerError:
            raise Refusal("SYSTEM.BACKEND", "ledger", retry_after=RETRY_SECONDS) from None
        self.ledger.settle(reservation, 1)

    def quote(self, policy: Policy, agent: str, upstream_domain: str, model: str) -> Purchase:
        """Which budgets cover a request and what its model costs. Raises Refusal when that must be known and is not."""
        budgets = self._budgets(policy, agent, upstream_domain)
        price = None if policy.prices is None else policy.prices.of(model)
        purchase = Purchase(budgets, price)
        if budgets and price is None:
            purchase.refused = budgets[0], "price"
        return purchase

    async def reserve(self, policy: Policy, purchase: Purchase, body_bytes: int, output_bound: int | None) -> None:
        """Take the most that the request can cost out of all its budgets, or out of none.

        `output_bound`: tokens of all choices together; known wherever a budget covers the request. Raises Refusal; the
        purchase then knows why.
        """
        purchase.input_bound, purchase.output_bound = body_bytes, output_bound
        price = purchase.price
        if price is not None:
            purchase.reserved = price_of(
                Price(max(price.input, price.cached), price.output, 0), body_bytes, output_bound or 0
            )
        if not purchase.budgets:
            return
        if purchase.refused is None:
            charges = budget_charges(policy, purchase.budgets, purchase.reserved, self.clock(), self._calendar)
            try:
                purchase.reservation = self.ledger.try_reserve(charges) or await self.ledger.reserve(charges)
                return
            except ExhaustedError as e:
                purchase.refused = purchase.budgets[e.index], "held" if e.held else None
            except LedgerError:
                raise Refusal("SYSTEM.BACKEND", "ledger", retry_after=RETRY_SECONDS) from None
        budget, detail = purchase.refused
        raise Refusal(CODES[budget.period], detail, retry_after=RETRY_SECONDS if detail == "held" else None)

    def settle(self, purchase: Purchase) -> None:
        """Book the bill and give the rest back, once. Without a bill nobody knows what the provider did: all that was
        reserved is spent."""
        if purchase.reservation is not None and not purchase.settled:
            if purchase.cost is None:
                purchase.cost, purchase.usage_source = purchase.reserved, "reserved"
            self.ledger.settle(purchase.reservation, purchase.cost)
        purchase.settled = True

    def standings(self, policy: Policy) -> list[Standing]:
        """Every budget in its current period."""
        now, found = self.clock(), []
        for budget in policy.budgets:
            (charge,) = budget_charges(policy, (budget,), 0, now, self._calendar)
            known = self.ledger.standing(charge.account)
            spent, held = (known.spent, known.leased) if known is not None else (0, 0)
            found.append(Standing(budget.id, budget.limit_micro_usd, spent, held))
        return found

    def _budgets(self, policy: Policy, agent: str, upstream_domain: str) -> tuple[Budget, ...]:
        if policy is not self._policy:
            self._policy, self._covering = policy, {}
        found = self._covering.get((agent, upstream_domain))
        if found is None:
            found = tuple(b for b in policy.budgets if b.covers(upstream_domain, agent))
            self._covering[agent, upstream_domain] = found
        return found


def rate_charge(policy: Policy, agent: str, now: float) -> tuple[Charge | None, float]:
    """One request of `agent` in the current minute, and when that ends. None: the agent has no rate."""
    rate = policy.rates.get(agent, policy.rates.get(ANY))
    if rate is None:
        return None, now
    minute = minute_at(now)
    account = f"rate {policy.tenant} {agent} {minute.name}"
    return Charge(account, rate, 1, int(minute.end) + KEEP_RATE), minute.end


def budget_charges(
    policy: Policy, budgets: Sequence[Budget], amount: int, now: float, calendar: Calendar
) -> list[Charge]:
    """`amount` of each budget's current period."""
    charges = []
    for budget in budgets:
        period = calendar.at(budget.period, budget.zone, now)
        account = f"budget {policy.tenant} {budget.id} {period.name}"
        keep_until = int(period.end) + KEEP_BUDGET
        charges.append(Charge(account, budget.limit_micro_usd, amount, keep_until, budget.action == "flag"))
    return charges


def check_limits(policy: Policy, now: float) -> None:
    """Fire every limit of the policy once, in a ledger of its own, so that none is there for show.

    Raises ConfigError naming the limit that lets through what it should not.
    """
    agents = [a.id for a in policy.agents] or ["none"]
    for budget in policy.budgets:
        domain = "example.com" if budget.upstream_domain == ANY else budget.upstream_domain
        agent = agents[0] if budget.agent == ANY else budget.agent
        if not budget.covers(domain, agent):
            raise ConfigError(f"the budget {budget.id} covers nothing")
        (charge,) = budget_charges(policy, [budget], budget.limit_micro_usd, now, Calendar())
        _fire(charge, f"budget {budget.id}")
    for agent in policy.rates:
        charge_, _ = rate_charge(policy, agents[0] if agent == ANY else agent, now)
        if charge_ is None:
            raise ConfigError(f"the rate of {agent} covers nothing")
        _fire(charge_._replace(amount=charge_.limit), f"rate of {agent}")


def _fire(charge: Charge, name: str) -> None:
    check_store(MemoryStore(), charge, name)


def check_store(store: Store, charge: Charge, name: str = "ledger") -> None:
    """Spend `charge`, which is all of its limit, and one more, which must be refused or, if forced, marked.

    Raises ConfigError, or LedgerError when the store does not answer.
    """
    share = Share(charge.account, charge.limit, 0, charge.amount, charge.amount, charge.force, charge.keep_until)
    all_of_it = store.update("self-test 1", [share], 1.0, 0.0)
    one_more = store.update("self-test 2", [share._replace(lease=1, need=1)], 1.0, 0.0)
    marked = not isinstance(one_more, Refused) and one_more[0].over
    passed = not isinstance(one_more, Refused)
    if isinstance(all_of_it, Refused) or all_of_it[0].over or passed is not charge.force or marked is not charge.force:
        raise ConfigError(f"self-test: the {name} does not limit anything")
