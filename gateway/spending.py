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
from typing import NamedTuple

from gateway.ledger.leases import Charge, ExhaustedError, Ledger
from gateway.ledger.ledger import LedgerError
from gateway.periods import Calendar, minute_at
from gateway.policy.budgets import ANY, Budget, Price
from gateway.policy.bundle import Policy
from gateway.purchase import CODES, Purchase, price_of
from gateway.reasons import Refusal

KEEP_BUDGET = 7 * 86400
"""Seconds for which the account of a past day or month is kept: running requests settle on it, people look it up."""
KEEP_RATE = 120
RETRY_SECONDS = 1
"""After which a request may be tried again that was refused because running ones hold what is left, or because the
ledger did not answer."""


class Standing(NamedTuple):
    """How a budget stands, as far as this worker knows. Micro-USD."""

    budget: str
    limit: int
    spent: int
    held: int
    """Reserved or leased, by all workers."""


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
