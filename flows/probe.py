"""Active assets × families → probe_attempts."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from flows.engine import Engine
from tasks.crash import crash_point
from tasks.current import current_assets
from tasks.probing.campaign import run_batch
from tasks.probing.catalog import Family
from tasks.probing.meters import Meters
from tasks.probing.plan import Batch, load_plan, plan
from tasks.probing.spool import drop_replies, lost_in
from tasks.records import Asset, digest
from tasks.runs import Run, unsent
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
    meters.budget.charge(_spent(run, campaign))
    total = sum(len(batch.attempts) for batch in campaign)
    done = 0
    engine.progress.update("probe", 0, total)
    troubles = []
    # Once the judges have read the attempts, later ones would never be judged: what is missing then stays missing.
    judged = run.committed("verdicts", "evidence")
    late = [b for b in campaign if judged and not run.committed("probe_attempts", _key(b))]
    troubles += [f"probing {assets[b.asset_id].name}, batch {b.number}: not made before the run stopped" for b in late]
    told = {b.asset_id for b in late}
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
            told.add(batch.asset_id)
    crash_point("probe:after")
    return troubles + _not_sent(run, meters, assets, told) + _error_rates(run, assets)


def freeze_plan(run: Run, assets: list[Asset], families: Mapping[str, Family]) -> list[Batch]:
    """The ordered attempts of this run, kept as evidence before the first request; a resumed run gets the same.

    A run that goes on with an earlier one's campaign plans what that campaign has not brought into the lake.
    """
    kept = run.lake.query(
        """select run_id, detail from lake.evidence
           where kind = 'plan' and run_id in (select run_id from lake.runs where campaign_id = ?)
           order by run_id""",
        [run.campaign_id],
    )
    for row in kept:
        if row["run_id"] == run.run_id:
            return list(load_plan(row["detail"], run.run_id).batches)
    if kept:
        sent = run.lake.query("select attempt_id from lake.probe_attempts where campaign_id = ?", [run.campaign_id])
        whole = load_plan(kept[0]["detail"], run.run_id)
        campaign = whole.without({row["attempt_id"] for row in sent}, {asset.asset_id for asset in assets})
    else:
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
    """Send what is not yet answered, commit what is finished, then drop its replies."""
    key = _key(batch)
    if run.committed("probe_attempts", key):
        return 0
    spool = _spool(run, batch)
    with _turn(batch.asset_id):
        rows = run_batch(batch, asset, families, run.settings.probing, spool, meters=meters)
    if not rows:
        return 0
    committed = run.commit("probe_attempts", rows, batch=key)
    drop_replies(spool)
    crash_point("probe:during")
    return committed


def _spool(run: Run, batch: Batch) -> Path:
    return run.spool / f"{digest(_key(batch))[:16]}.jsonl"


def _spent(run: Run, campaign: Sequence[Batch]) -> Amount:
    """What earlier executions of the campaign have spent: by their rows, and without any in the spools of batches that
    are done. Those of the others are charged as they are opened."""
    (row,) = run.lake.query(
        """select coalesce(sum(tries), 0)::bigint as requests, coalesce(sum(cost_micro_usd), 0)::bigint as micro_usd,
                  coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0)::bigint as tokens
           from lake.probe_attempts where campaign_id = ?""",
        [run.campaign_id],
    )
    to_open = {_spool(run, batch) for batch in campaign if not run.committed("probe_attempts", _key(batch))}
    lost = [lost_in(file) for file in run.spool.glob("*.jsonl") if file not in to_open]
    return sum(lost, start=Amount(row["requests"], row["tokens"], row["micro_usd"]))


def _not_sent(run: Run, meters: Meters, assets: Mapping[str, Asset], told: Collection[str]) -> list[str]:
    """Which targets, besides those `told` of already, were left with planned attempts, and what to do about it."""
    causes = {
        "budget": f"the campaign's limit of {meters.budget.reached} is reached; raise it, and",
        "circuit_open": "the target failed too often in a row; when it is back,",
        "throttled": "the target asked to be left alone; later,",
        None: "the run was stopped after its target had been given up; now",
    }
    missing = unsent(run.lake, run.run_id)
    return [
        f"{assets[asset_id].name}: {count} attempts were not sent: "
        f"{causes[meters.stopped(meters.limiter(assets[asset_id]))]} the same command goes on with them"
        for asset_id, count in sorted(missing.items())
        if asset_id not in told
    ]


def _error_rates(run: Run, assets: Mapping[str, Asset]) -> list[str]:
    rows = run.lake.query(
        """select asset_id, count(*) as n, count(*) filter (verdict = 'error' and error_kind <> 'filtered') as errors,
                  mode(error_kind) as commonest
           from lake.probe_attempts where campaign_id = ? and verdict <> 'not_applicable'
           group by asset_id order by asset_id""",
        [run.campaign_id],
    )
    return [
        f"{assets[row['asset_id']].name if row['asset_id'] in assets else row['asset_id']}: "
        f"{row['errors']} of {row['n']} attempts failed ({row['commonest']})"
        for row in rows
        if row["errors"] * 100 > row["n"] * ERROR_RATE_PERCENT
    ]
