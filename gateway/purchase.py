"""One request's money: the most it can cost, what it did cost, and the events that tell of it. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.ledger.leases import Reservation
from gateway.policy.budgets import PRICE_TOKENS, Budget, Price

CODES = {"day": "POLICY.BUDGET_DAY", "month": "POLICY.BUDGET_MONTH"}
MAX_COST = 1 << 53
"""Micro-USD; no limit is as high, and every store can hold it."""


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
        """A `budget` event for each budget that refused the request, or has more to say than that it covers it.

        Made by `gateway.events.Exchange.part`.
        """
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
                decision="flag",
                reason_code=CODES[budget.period],
                reason_detail="overrun" if overrun else None,
                rule_id=budget.id,
                severity="medium",
                reserved_micro_usd=self.reserved,
                cost_micro_usd=self.cost,
            )
            for budget, over in zip(self.budgets, self.reservation.over, strict=True)
            if over or overrun
        ]
