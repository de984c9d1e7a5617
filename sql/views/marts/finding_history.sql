-- One row per (run, finding known by then): its state when the run ended, and the run that evaluated it last.
select
    f.run_id,
    f.finding_id,
    f.seq,
    f.asset_id,
    a.name as asset_name,
    a.kind as asset_kind,
    a.owner,
    f.finding_kind,
    f.rule_id,
    f.title,
    f.severity,
    f.state,
    f.state not in ('fixed', 'false_positive') as is_active,
    f.summary,
    f.fix,
    f.hits,
    f.trials,
    f.discovered_at,
    f.evaluated_at,
    greatest(0, date_sub('day', f.discovered_at, r.as_of)) as age_days,
    f.evaluated_run_id,
    f.evidence_sha256,
    f.proof_label,
from int_asof_findings as f
join int_asof as r on r.run_id = f.run_id
left join int_asof_assets as a on a.run_id = f.run_id and a.asset_id = f.asset_id
