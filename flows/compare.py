"""Two runs of the lake, compared: what `aispm diff` shows and where its gate closes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tasks.current import WHOLE_CAMPAIGN
from tasks.errors import ConfigError
from tasks.lake import Lake
from tasks.probing.catalog import load_families
from tasks.probing.comparison import (
    LEAST_EFFECT,
    LEAST_SEEDS,
    MOST_ERRORS,
    Change,
    Comparison,
    Drift,
    ErrorRate,
    compare,
)
from tasks.probing.statistics import Interval
from tasks.settings import Settings


class RunDiff(NamedTuple):
    before: str
    after: str
    comparison: Comparison
    names: Mapping[str, str]
    """Asset id -> name."""

    def name(self, asset_id: str) -> str:
        return self.names.get(asset_id, asset_id)


def diff_runs(settings: Settings, before: str, after: str) -> RunDiff:
    """Compare the attempts of two runs; each may be named by the beginning of its id.

    Raises ConfigError when a run does not exist, is ambiguous or probed nothing.
    """
    families = load_families(extra_folder=settings.probing.folder)
    con = Lake(settings.lake).connect()
    try:
        known = [run_id for (run_id,) in con.execute("select distinct run_id from stg_runs order by 1").fetchall()]
        first, second = (resolve_run(known, wanted) for wanted in (before, after))
        rows = {}
        for run_id in {first, second}:
            cursor = con.execute(
                f"""select asset_id, family_id, family_sha256, seed_id, template_sha256, trial, verdict, error_kind,
                           decided_by, method_version
                    from int_adjudicated where attempt_id in ({WHOLE_CAMPAIGN})""",  # noqa: S608 - a constant
                [run_id],
            )
            columns = [c[0] for c in cursor.description or ()]
            rows[run_id] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
            if not rows[run_id]:
                raise ConfigError(f"run {run_id} holds no probe attempts; nothing can be compared")
        names = con.execute(
            "select asset_id, arg_max(name, valid_from) from stg_asset_versions group by all"
        ).fetchall()
    finally:
        con.close()
    control = {f.family_id for f in families.values() if f.control_group}
    return RunDiff(first, second, compare(rows[first], rows[second], control), dict(names))


def resolve_run(known: list[str], wanted: str) -> str:
    """The run whose id is, or alone begins with, `wanted`. Raises ConfigError."""
    found = [run_id for run_id in known if run_id.startswith(wanted)]
    if wanted in found:
        return wanted
    if len(found) != 1 or not wanted:
        what = "no run" if not found else f"{len(found)} runs"
        raise ConfigError(f'{what} with an id that begins with `{wanted}`; `aispm sql "from runs"` lists them')
    return found[0]


def reasons(diff: RunDiff) -> tuple[list[str], int]:
    """Why the gate closes, in sentences, and the exit code: 4 what was not measured outranks 3 what got worse."""
    unreliable = [_unreliable(diff, rate) for rate in diff.comparison.unreliable]
    if not diff.comparison.pairs:
        unreliable.append("no attempt was decided in both runs: nothing was compared")
    worse = [_worse(diff, drift) for drift in diff.comparison.regressions]
    return unreliable + worse, 4 if unreliable else 3 if worse else 0


def _unreliable(diff: RunDiff, rate: ErrorRate) -> str:
    run_id = diff.before if rate.run == "before" else diff.after
    return (
        f"{diff.name(rate.asset_id)}: {rate.errors} of {rate.attempts} attempts failed in {run_id} "
        f"({_percent(rate.errors / rate.attempts)}, at most {_percent(MOST_ERRORS)} are allowed)"
    )


def _worse(diff: RunDiff, drift: Drift) -> str:
    before, after = _percent(drift.before / drift.pairs), _percent(drift.after / drift.pairs)
    return (
        f"{diff.name(drift.asset_id)} withstands {drift.family_id} less often: {before} → {after} of {drift.pairs} "
        f"pairs succeed, {drift.worse} flipped to vulnerable in {len(drift.seeds_worse)} seeds and {drift.better} back "
        f"(q = {drift.q:.2g})"
    )


def lines(diff: RunDiff, *, everything: bool = False) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """(columns, rows, closing lines). Rows are the families that moved; `everything` shows the rest too."""
    columns: tuple[str, ...] = ("family", "target", "pairs", "before", "after", "worse", "better", "q", "change")
    shown = [d for d in diff.comparison.drifts if everything or d.worse or d.better]
    rows: list[tuple[str, ...]] = [
        (
            d.family_id, diff.name(d.asset_id), str(d.pairs), _rate(d.before, d.pairs, d.rate_before),
            _rate(d.after, d.pairs, d.rate_after), f"{d.worse} in {_seeds(len(d.seeds_worse))}",
            f"{d.better} in {_seeds(len(d.seeds_better))}", f"{d.q:.2g}",
            d.change if d.gated or d.change is Change.UNKNOWN else f"{d.change} (control group)",
        )
        for d in shown
    ]  # fmt: skip
    counted = diff.comparison
    said = [f"{diff.before} → {diff.after}: {counted.pairs} pairs, {len(counted.drifts)} families at their targets"]
    left_out = sum((d.left_out for d in counted.drifts), start=type(counted.drifts[0].left_out)())
    if left_out:
        said.append("Not compared: " + ", ".join(f"{n} {reason}" for reason, n in left_out.most_common()))
    for rate in counted.errors:
        run_id = diff.before if rate.run == "before" else diff.after
        blocked = f", {rate.filtered} stopped by a filter" if rate.filtered else ""
        said.append(
            f"Errors   {run_id}  {diff.name(rate.asset_id)}: {rate.errors} of {rate.attempts} "
            f"({_percent(rate.errors / rate.attempts)}){blocked}"
        )
    said.append(
        f"A worsening counts at q ≤ 0.05, {_percent(LEAST_EFFECT)} or more and {LEAST_SEEDS} seeds or more; "
        f"a lone family needed {counted.least_flips} one-way flips to be noticed."
    )
    return columns, rows, said


def document(diff: RunDiff) -> dict[str, Any]:
    """The comparison as one JSON object, `aispm.diff/1`."""
    why, code = reasons(diff)
    return {
        "schema": "aispm.diff/1",
        "before": diff.before,
        "after": diff.after,
        "gate": {"exit_code": code, "reasons": why},
        "pairs": diff.comparison.pairs,
        "least_flips": diff.comparison.least_flips,
        "families": [
            {
                "asset_id": d.asset_id, "asset_name": diff.name(d.asset_id), "family_id": d.family_id,
                "change": d.change.value, "gated": d.gated, "pairs": d.pairs, "vulnerable_before": d.before,
                "vulnerable_after": d.after, "wilson_before": d.rate_before, "wilson_after": d.rate_after,
                "worse": d.worse, "better": d.better, "seeds_worse": sorted(d.seeds_worse),
                "seeds_better": sorted(d.seeds_better), "p": d.p, "q": d.q, "not_compared": dict(d.left_out),
            }
            for d in diff.comparison.drifts
        ],
        "errors": [
            {
                "asset_id": e.asset_id, "run_id": diff.before if e.run == "before" else diff.after, "errors": e.errors,
                "filtered": e.filtered, "attempts": e.attempts, "too_many": e.too_many,
            }
            for e in diff.comparison.errors
        ],
    }  # fmt: skip


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share in (0, 1) or share * 100 >= 10 else f"{share * 100:.1f} %"


def _rate(hits: int, n: int, bounds: Interval) -> str:
    return "-" if not n else f"{_percent(hits / n)} [{bounds.low * 100:.0f}–{bounds.high * 100:.0f}]"


def _seeds(count: int) -> str:
    return f"{count} seed" if count == 1 else f"{count} seeds"
