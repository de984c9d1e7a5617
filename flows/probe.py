"""Active assets × families → probe_attempts."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections import defaultdict
from collections.abc import Mapping

from flows.engine import Engine
from tasks.crash import crash_point
from tasks.current import current_assets
from tasks.probing.campaign import run_batch
from tasks.probing.catalog import Family
from tasks.probing.meters import Meters
from tasks.probing.plan import Batch, load_plan, plan
from tasks.records import Asset, digest
from tasks.runs import Run
from tasks.targets.budget import Amount

ERROR_RATE_PERCENT = 5
"""Above this share of failed attempts a target counts as not tested properly (filter blocks aside)."""


def probe(run: Run, engine: Engine, families: Mapping[str, Family]) -> list[str]:
    """Freeze the plan, then one task per batch of one target. Returns what went wrong."""
    crash_point("probe:before")
    assets = {asset.asset_id: asset for asset in current_assets(run.lake) if asset.active}
    campaign = engine.run(freeze_plan, run=run, assets=list(assets.values()), families=families)
    campaign.sort(key=lambda batch: (batch.number, batch.asset_id))  # targets side by side, see `_turn`
    meters = Meters(run.settings.probing, [a for a in assets.values() if a.props.get("wire_format")])
    meters.budget.charge(_spent(run))
    total = sum(len(batch.attempts) for batch in campaign)
    done = 0
    engine.progress.update("probe", 0, total)
    troubles = []
    # Once the judges have read the attempts, later ones would never be judged: what is missing then stays missing.
    judged = run.committed("verdicts", "evidence")
    late = [b for b in campaign if judged and not run.committed("probe_attempts", _key(b))]
    troubles += [f"probing {assets[b.asset_id].name}, batch {b.number}: not made before the run stopped" for b in late]
    work = [
        {"run": run, "batch": b, "asset": assets[b.asset_id], "families": families, "meters": meters}
        for b in campaign
        if b not in late
    ]
    for arguments, outcome in engine.map(probe_batch, work):
        batch = arguments["batch"]
        done += len(batch.attempts)
        engine.progress.update("probe", done, total, assets[batch.asset_id].name)
        if isinstance(outcome, Exception):
            troubles.append(f"probing {assets[batch.asset_id].name}, batch {batch.number}: {outcome}")
    crash_point("probe:after")
    return troubles + _error_rates(run, assets)


def freeze_plan(run: Run, assets: list[Asset], families: Mapping[str, Family]) -> list[Batch]:
    """The ordered attempts of this run, kept as evidence before the first request; a resumed run gets the same."""
    kept = run.lake.query("select detail from lake.evidence where run_id = ? and kind = 'plan'", [run.run_id])
    if kept:
        return list(load_plan(kept[0]["detail"], run.run_id).batches)
    campaign = plan(run.run_id, run.campaign_id, assets, families, run.settings.probing, full=run.full)
    document = campaign.document
    row = {
        "run_id": run.run_id,
        "kind": "plan",
        "table_name": "probe_attempts",
        "position": 0,
        "sha256": hashlib.sha256(document.encode()).hexdigest(),
        "detail": document,
        "made_at": dt.datetime.now(dt.UTC),
    }
    run.commit("evidence", [row], batch="plan")
    return list(campaign.batches)


_TURNS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def _turn(asset_id: str) -> threading.Lock:
    """Held while a batch talks to its target: `probing.concurrency` is a promise per target, so one batch at a time."""
    return _TURNS[asset_id]


def _key(batch: Batch) -> str:
    return f"{batch.asset_id}/{batch.number}"


def probe_batch(run: Run, batch: Batch, asset: Asset, families: Mapping[str, Family], meters: Meters) -> int:
    """Send what is not yet answered, commit the batch, then drop its spool."""
    key = _key(batch)
    if run.committed("probe_attempts", key):
        return 0
    spool = run.spool / f"{digest(key)[:16]}.jsonl"
    with _turn(batch.asset_id):
        rows = run_batch(batch, asset, families, run.settings.probing, spool, meters=meters)
    committed = run.commit("probe_attempts", rows, batch=key)
    spool.unlink(missing_ok=True)
    crash_point("probe:during")
    return committed


def _spent(run: Run) -> Amount:
    """What earlier executions of this run have committed; what lies in spools is charged as they are opened."""
    (row,) = run.lake.query(
        """select coalesce(sum(tries), 0)::bigint as requests, coalesce(sum(cost_micro_usd), 0)::bigint as micro_usd,
                  coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0)::bigint as tokens
           from lake.probe_attempts where run_id = ?""",
        [run.run_id],
    )
    return Amount(row["requests"], row["tokens"], row["micro_usd"])


def _error_rates(run: Run, assets: Mapping[str, Asset]) -> list[str]:
    rows = run.lake.query(
        """select asset_id, count(*) as n, count(*) filter (verdict = 'error' and error_kind <> 'filtered') as errors,
                  mode(error_kind) as commonest
           from lake.probe_attempts where run_id = ? and verdict <> 'not_applicable'
           group by asset_id order by asset_id""",
        [run.run_id],
    )
    return [
        f"{assets[row['asset_id']].name if row['asset_id'] in assets else row['asset_id']}: "
        f"{row['errors']} of {row['n']} attempts failed ({row['commonest']})"
        for row in rows
        if row["errors"] * 100 > row["n"] * ERROR_RATE_PERCENT
    ]
