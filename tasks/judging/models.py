"""What is known of the providers' models: prices with their dates, and which parameters they take (`data/models.csv`).

Prices are US dollars per million tokens at list price, for prompts below the providers' long-context thresholds, which
a judge's prompt never reaches. An empty price of cached or written tokens is counted as plain input: costs are then
an upper bound. A model that is not listed has no price; it is asked without temperature.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

from tasks.judging.vendors.format import Usage

MODELS = Path(__file__).parent / "data" / "models.csv"
BATCH_FACTOR = 0.5
"""Of the price, in the batch interfaces of all three providers (their pricing pages, as for the rows)."""


@dataclass(frozen=True, slots=True)
class Model:
    """One row: a model, also under its dated names, from `valid_from` on."""

    provider: str
    name: str
    valid_from: date
    input: float
    cached_input: float
    cache_write: float
    output: float
    temperature: bool
    structured: str
    source: str

    def micro_usd(self, usage: Usage, *, batch: bool = False) -> int | None:
        """Cost of one reply in millionths of a dollar, rounded up; None when the provider told no tokens."""
        if usage.tokens_in is None or usage.tokens_out is None:
            return None
        plain = max(0, usage.tokens_in - usage.cached - usage.cache_written)
        usd = plain * self.input + usage.cached * self.cached_input + usage.cache_written * self.cache_write
        return math.ceil((usd + usage.tokens_out * self.output) * (BATCH_FACTOR if batch else 1.0))


@lru_cache(maxsize=1)
def _models() -> tuple[Model, ...]:
    with MODELS.open(encoding="utf-8", newline="") as file:
        return tuple(
            Model(
                row["provider"],
                row["model"],
                date.fromisoformat(row["valid_from"]),
                float(row["input"]),
                float(row["cached_input"] or row["input"]),
                float(row["cache_write"] or row["input"]),
                float(row["output"]),
                row["temperature"] == "yes",
                row["structured"],
                row["source"],
            )
            for row in csv.DictReader(file)
        )


def known_model(provider: str, model: str, on: date | None = None) -> Model | None:
    """The row in force `on` that day (today): of the same name, or of the name with a date behind it."""
    day = on or datetime.now(UTC).date()
    rows = [m for m in _models() if m.provider == provider and m.valid_from <= day and _is(model, m.name)]
    return max(rows, key=lambda m: m.valid_from, default=None)


def own_price(provider: str, model: str, usd_in: float, usd_out: float) -> Model:
    """A price from the settings, for a model that the table does not hold or that costs you something else."""
    listed = known_model(provider, model)
    temperature = listed.temperature if listed else False
    structured = listed.structured if listed else "json_schema"
    day = date(1970, 1, 1)
    return Model(provider, model, day, usd_in, usd_in, usd_in, usd_out, temperature, structured, "settings")


def _is(model: str, name: str) -> bool:
    rest = model.removeprefix(name)
    return model == name or (rest != model and rest.replace("-", "").isdigit() and len(rest.replace("-", "")) == 8)
