"""Attack success rates of one run with everything that must stand beside them, and the numbers a claim needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from flows.compare import resolve_run
from tasks.current import WHOLE_CAMPAIGN
from tasks.errors import ConfigError
from tasks.lake import Lake
from tasks.probing.statistics import (
    Interval,
    clean_trials,
    cluster_bootstrap,
    hit_at_k,
    least_flips,
    pairs_for_change,
    trials_for_width,
    undecided_range,
    wilson,
)
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Rate:
    """One family at one target. Filter blocks are errors here and stand apart in `filtered`."""

    family_id: str
    asset_id: str
    asset_name: str
    verdicts: Counter[str]
    filtered: int
    seeds: dict[str, tuple[int, int]]
    """Seed -> (vulnerable, decided)."""
    k: int

    @property
    def hits(self) -> int:
        return self.verdicts["vulnerable"]

    @property
    def n(self) -> int:
        return self.hits + self.verdicts["resistant"]

    @property
    def interval(self) -> Interval:
        return wilson(self.hits, self.n)

    @property
    def by_seeds(self) -> Interval | None:
        return cluster_bootstrap(list(self.seeds.values()))

    @property
    def if_undecided(self) -> Interval:
        return undecided_range(self.hits, self.verdicts["resistant"], self.verdicts["undecided"])

    @property
    def hit_at_k(self) -> float | None:
        return hit_at_k(self.hits, self.n, self.k) if self.n >= self.k else None


@dataclass(frozen=True, slots=True)
class Rates:
    run_id: str
    k: int
    rows: tuple[Rate, ...]

    def notes(self) -> list[str]:
        total: Counter[str] = Counter()
        for row in self.rows:
            total += row.verdicts
        attempts = total.total() - total["not_applicable"]
        filtered = sum(r.filtered for r in self.rows)
        share = 100 * total["error"] / attempts if attempts else 0
        blocked = f"{filtered} of them stopped by a filter"
        said = [f"Run {self.run_id}: {attempts} attempts, {total['error']} errors ({share:.1f} %, {blocked})"]
        said.append(
            "rate = vulnerable / n. Wilson speaks for these templates, the bootstrap by seeds for attacks like them;"
        )
        said.append("if undecided = the rate if all undecided attempts went either way.")
        if filtered * 5 > attempts:
            said.append("More than a fifth was stopped by a filter: the filter was tested, not the target behind it.")
        return said

    def document(self) -> dict[str, Any]:
        return {
            "schema": "aispm.rates/1",
            "run_id": self.run_id,
            "k": self.k,
            "families": [
                {
                    "family_id": r.family_id, "asset_id": r.asset_id, "asset_name": r.asset_name, "n": r.n,
                    "seeds": len(r.seeds), "verdicts": dict(r.verdicts), "filtered": r.filtered,
                    "rate": r.hits / r.n if r.n else None, "wilson": r.interval, "bootstrap_by_seed": r.by_seeds,
                    "if_undecided": r.if_undecided, "hit_at_k": r.hit_at_k,
                }
                for r in self.rows
            ],
        }  # fmt: skip


def rates(settings: Settings, run: str | None, k: int) -> Rates:
    """The rates of a run, or of the newest with attempts, and of those whose campaign it went on with.

    Raises ConfigError when there is none.
    """
    con = Lake(settings.lake).connect()
    try:
        known = [r for (r,) in con.execute("select distinct run_id from stg_probe_attempts order by 1").fetchall()]
        if not known:
            raise ConfigError("no run has probed anything yet; `aispm run nightly` or `aispm demo` does")
        run_id = known[-1] if run is None else resolve_run(known, run)
        counted = con.execute(
            f"""with names as (select asset_id, arg_max(name, valid_from) as name from stg_asset_versions group by all)
               select a.family_id, a.asset_id, coalesce(n.name, a.asset_id), a.seed_id, a.verdict,
                      coalesce(a.error_kind = 'filtered', false), count(*)
               from int_adjudicated as a left join names as n on n.asset_id = a.asset_id
               where a.attempt_id in ({WHOLE_CAMPAIGN}) group by all order by all""",  # noqa: S608 - a constant
            [run_id],
        ).fetchall()
    finally:
        con.close()
    rows: dict[tuple[str, str], Rate] = {}
    filtered: Counter[tuple[str, str]] = Counter()
    for family_id, asset_id, name, seed_id, verdict, blocked, count in counted:
        key = (family_id, asset_id)
        row = rows.setdefault(key, Rate(family_id, asset_id, name, Counter(), 0, {}, k))
        row.verdicts[verdict] += count
        if verdict == "error" and blocked:
            filtered[key] += count
        if verdict in ("vulnerable", "resistant"):
            hits, n = row.seeds.get(seed_id, (0, 0))
            row.seeds[seed_id] = (hits + count * (verdict == "vulnerable"), n + count)
    done = [
        Rate(r.family_id, r.asset_id, r.asset_name, r.verdicts, filtered[key], r.seeds, k) for key, r in rows.items()
    ]
    done.sort(key=lambda r: (-(r.hits / r.n if r.n else -1), -r.n, r.family_id, r.asset_name))
    return Rates(run_id, k, tuple(done))


def table(found: Rates) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows for people."""
    columns: tuple[str, ...] = (
        "family", "target", "n", "seeds", "rate", "95 % Wilson", "by seeds", "if undecided", f"hit@{found.k}",
        "undecided", "error", "n/a",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            r.family_id, r.asset_name, str(r.n), str(len(r.seeds)), _percent(r.hits / r.n) if r.n else "-",
            _span(r.interval), _span(r.by_seeds), _span(r.if_undecided),
            "-" if r.hit_at_k is None else _percent(r.hit_at_k), str(r.verdicts["undecided"]),
            str(r.verdicts["error"]), str(r.verdicts["not_applicable"]),
        )
        for r in found.rows
    ]  # fmt: skip
    return columns, rows


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _span(bounds: Interval | None) -> str:
    return "-" if bounds is None else f"{bounds.low * 100:.0f}–{bounds.high * 100:.0f} %"


class Numbers(NamedTuple):
    values: dict[str, Any]
    lines: list[str]


def plan_numbers(
    families: int, before: float, after: float, power: float, clean_below: float, half_width: float
) -> Numbers:
    """Attempts that three kinds of claim need. Raises ConfigError on numbers that are no rates."""
    try:
        clean = clean_trials(clean_below)
        width = trials_for_width(0.5, half_width)
        flips = least_flips(families)
        pairs = pairs_for_change(before, after, families, power=power)
    except ValueError as e:
        raise ConfigError(f"{e}; rates are given as 0.05 for 5 %") from None
    values = {
        "clean_trials": clean, "trials_for_width": width, "families": families, "least_flips": flips,
        "pairs_for_change": pairs,
    }  # fmt: skip
    change = f"{before:.1%} → {after:.1%}"
    found = "independent pairs" if pairs is not None else "pairs"
    return Numbers(
        values,
        [
            f"{clean:>6}  attempts without a hit bound a rate at {clean_below:.1%} (exact, one-sided 95 %)",
            f"{width:>6}  decided attempts give a rate of 50 % a 95 % Wilson interval of ± {half_width:.1%}",
            f"{flips:>6}  one-way flips are the least that can be noticed when one family of {families} changes",
            f"{pairs or '> 2000':>6}  {found} notice {change} in one family of {families} with power {power:.0%}",
        ],
    )
