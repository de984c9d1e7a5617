"""What all batches of one execution share: the campaign's budget, its prices, and one limiter per target key."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from tasks.errors import ConfigError
from tasks.records import Asset
from tasks.settings import ProbingSettings
from tasks.targets.budget import Budget, Limits, Price, load_prices
from tasks.targets.credentials import principals, url_of
from tasks.targets.limiter import Limiter

FREE_FORMATS = frozenset({"mcp"})
"""Formats behind which no tokens are bought by us."""
_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrency")


class Meters:
    """Made anew for every execution: a target that was given up is tried again by the next one."""

    def __init__(self, settings: ProbingSettings, targets: Iterable[Asset]) -> None:
        """Raises ConfigError for limits that are none, and with `max_usd` for a model whose price is unknown."""
        self._settings = settings
        self.budget = Budget(limits_of(settings))
        self._prices = load_prices(settings.prices) if settings.prices is not None else {}
        self._lock = threading.Lock()  # guards _limiters
        self._limiters: dict[tuple[str, str], Limiter] = {}
        self._strictest: dict[tuple[str, str], dict[str, int | None]] = {}
        for target in targets:
            key = target_key(target)
            limits = self._strictest.setdefault(key, {})
            for name, value in _limits(target, settings).items():
                seen = limits.get(name)
                limits[name] = min((v for v in (seen, value) if v is not None), default=None)
            if settings.max_usd is not None:
                self._require_price(target)

    def limiter(self, target: Asset) -> Limiter:
        """The one of this target's address and credential, shared by all that use both."""
        key = target_key(target)
        with self._lock:
            if key not in self._limiters:
                limits = self._strictest.get(key) or _limits(target, self._settings)
                self._limiters[key] = Limiter(
                    limits["concurrency"] or self._settings.concurrency,
                    requests_per_minute=limits["requests_per_minute"],
                    tokens_per_minute=limits["tokens_per_minute"],
                )
            return self._limiters[key]

    def price(self, target: Asset) -> Price | None:
        """None when it is not known."""
        return self._prices.get(model_of(target))

    def stopped(self, limiter: Limiter) -> str | None:
        """Why nothing more is sent to the target of this limiter: `budget`, `throttled`, `circuit_open`."""
        return "budget" if self.budget.exhausted else limiter.stopped

    def _require_price(self, target: Asset) -> None:
        if target.props.get("wire_format") not in FREE_FORMATS and self.price(target) is None:
            raise ConfigError(
                f"`probing.max_usd` is set, but the price of `{model_of(target)}` ({target.asset_id}) is not known; "
                "add it to the file that `probing.prices` names"
            )


def limits_of(settings: ProbingSettings) -> Limits:
    """The settings' limits; dollars become whole micro-USD, rounded down."""
    money = None if settings.max_usd is None else int(Decimal(str(settings.max_usd)) * 1_000_000)
    return Limits(settings.max_requests, settings.max_tokens, money)


def model_of(target: Asset) -> str:
    return str(target.props.get("model", target.name))


def target_key(target: Asset) -> tuple[str, str]:
    """(base URL, credential reference): what providers count by."""
    references = [target.props.get("credential"), *(p.get("credential") for p in principals(target))]
    return url_of(target).rstrip("/"), "|".join(str(r) for r in references if r)


def declared_limits(target: Asset) -> Mapping[str, int]:
    """The `limits` of a target's declaration. Raises ConfigError when they are none."""
    declared: Any = target.props.get("limits") or {}
    if not isinstance(declared, Mapping) or set(declared) - set(_LIMITS):
        raise ConfigError(f"{target.asset_id}: `limits` takes {', '.join(_LIMITS)}")
    for name, value in declared.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{target.asset_id}: `limits.{name}` must be a whole number above 0")
    return declared


def _limits(target: Asset, settings: ProbingSettings) -> dict[str, int | None]:
    declared = declared_limits(target)
    return {
        "requests_per_minute": declared.get("requests_per_minute", settings.requests_per_minute),
        "tokens_per_minute": declared.get("tokens_per_minute", settings.tokens_per_minute),
        "concurrency": min(declared.get("concurrency", settings.concurrency), settings.concurrency),
    }
