"""What a campaign, or the judging of a run, may cost: requests, tokens and money.

They are reserved before a request leaves and settled on what it used.

Money is integer micro-USD. A reservation is the upper bound of one request, so no limit is ever passed, not by one
token; where a reply reports no usage the whole reservation stays spent.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.strict_yaml import load_yaml

PER_TOKENS = 1_000_000
"""How many tokens a price is for."""
SCHEMA = "aispm.prices/1"


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-USD per million tokens."""

    input: int
    output: int

    def of(self, tokens_in: int, tokens_out: int) -> int:
        """Micro-USD, rounded up."""
        return -(-(tokens_in * self.input + tokens_out * self.output) // PER_TOKENS)


def load_prices(path: Path) -> dict[str, Price]:
    """The dated price table: model as requests name it -> price. Raises ConfigError with file and line."""
    data, lines = load_yaml(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ConfigError(f"a price table starts with `schema: {SCHEMA}`", path, lines.get(("schema",), 1))
    if not isinstance(data.get("as_of"), date):
        raise ConfigError("`as_of` must be the date of the prices, such as 2026-11-01", path, lines.get(("as_of",), 1))
    models = data.get("models")
    unknown = sorted(set(data) - {"schema", "as_of", "source", "models"})
    if not isinstance(models, dict) or unknown:
        line = lines.get((unknown[0] if unknown else "models",), 1)
        raise ConfigError("a price table has `schema`, `as_of`, `source` and `models`, nothing else", path, line)
    return {str(name): _price(name, entry, path, lines["models", name]) for name, entry in models.items()}


def _price(name: Any, entry: Any, path: Path, line: int) -> Price:
    if not isinstance(entry, Mapping) or set(entry) != {"input", "output"}:
        problem = f"the price of {name!r} has `input` and `output`, in micro-USD per million tokens"
        raise ConfigError(problem, path, line)
    amounts = [entry["input"], entry["output"]]
    if not all(isinstance(a, int) and not isinstance(a, bool) and 0 <= a <= 10**12 for a in amounts):
        raise ConfigError(f"the price of {name!r} must be whole micro-USD per million tokens, 0 or more", path, line)
    return Price(*amounts)


@dataclass(frozen=True, slots=True)
class Amount:
    requests: int = 0
    tokens: int = 0
    micro_usd: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.requests + other.requests, self.tokens + other.tokens, self.micro_usd + other.micro_usd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.requests - other.requests, self.tokens - other.tokens, self.micro_usd - other.micro_usd)


@dataclass(frozen=True, slots=True)
class Limits:
    """None = no limit."""

    requests: int | None = None
    tokens: int | None = None
    micro_usd: int | None = None


class Budget:
    """Thread-safe: all who spend from it share it, and what is in flight counts at its most."""

    def __init__(self, limits: Limits, *, once: bool = True) -> None:
        """`once`: as soon as something did not fit, nothing more is given out, not even what is smaller."""
        self._limits = limits
        self._once = once
        self._spent = Amount()
        self._lock = threading.Lock()  # guards _spent (reservations included) and reached
        self.reached: str | None = None
        """The first limit that refused something: `requests`, `tokens` or `money`."""

    @property
    def exhausted(self) -> bool:
        """Whether a limit has refused something."""
        return self.reached is not None

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def spent(self) -> Amount:
        """Settled and still reserved."""
        return self._spent

    def reserve(self, amount: Amount) -> bool:
        """Set an upper bound aside; False when that is more than is left."""
        with self._lock:
            if self._once and self.exhausted:
                return False
            after = self._spent + amount
            over = _over(after, self._limits)
            self.reached = self.reached or over
            if over is None:
                self._spent = after
            return over is None

    def settle(self, reserved: Amount, used: Amount) -> None:
        """`used` takes the place of a reservation."""
        with self._lock:
            self._spent = self._spent - reserved + used

    def charge(self, amount: Amount) -> None:
        """What an earlier execution has spent already."""
        with self._lock:
            self._spent = self._spent + amount


def _over(spent: Amount, limits: Limits) -> str | None:
    """The limit that is passed."""
    for name, value, limit in (
        ("requests", spent.requests, limits.requests),
        ("tokens", spent.tokens, limits.tokens),
        ("money", spent.micro_usd, limits.micro_usd),
    ):
        if limit is not None and value > limit:
            return name
    return None
