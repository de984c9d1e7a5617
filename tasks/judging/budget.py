"""What judging may still spend in one run: requests, tokens, money. Thread-safe: batches run in threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spend:
    """What one question may cost at most, or did cost."""

    tokens: int = 0
    micro_usd: int = 0


class JudgingBudget:
    """Reserve before asking, settle after it: what is in flight counts at its most, so that no limit is passed."""

    def __init__(self, max_requests: int, max_tokens: int, max_micro_usd: int) -> None:
        self._requests = max_requests
        self._tokens = max_tokens
        self._micro_usd = max_micro_usd
        self._lock = threading.Lock()  # guards the three figures: never below 0 by a reservation
        self.reached: str | None = None
        """`requests`, `tokens` or `money` once a limit has refused something."""

    def take_request(self) -> bool:
        """Charge one request, repeated ones too; False when none is left."""
        with self._lock:
            if self._requests < 1:
                self.reached = self.reached or "requests"
                return False
            self._requests -= 1
            return True

    def reserve(self, most: Spend) -> bool:
        """Set `most` aside; False when that is more than is left."""
        with self._lock:
            if self._tokens < most.tokens or self._micro_usd < most.micro_usd:
                self.reached = self.reached or ("tokens" if self._tokens < most.tokens else "money")
                return False
            self._tokens -= most.tokens
            self._micro_usd -= most.micro_usd
            return True

    def settle(self, most: Spend, spent: Spend) -> None:
        """Give back what was reserved and not spent."""
        with self._lock:
            self._tokens += most.tokens - spent.tokens
            self._micro_usd += most.micro_usd - spent.micro_usd
