-- One row per finding, as it is now. `age_days` runs from discovery to the end of the newest finished run.
with newest as (
    select *
    from stg_findings
    qualify row_number() over (partition by finding_id order by seq desc, recorded_at desc) = 1
),

assets as (
    select asset_id, kind, name, owner, env, exposure
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
),

newest_run as (
    select max(as_of) as as_of
    from int_asof
    where state in ('complete', 'incomplete')
),

controls as (
    select
        finding_id,
        list(distinct control_key order by control_key) filter (relation <> 'none') as controls,
        list(distinct framework order by framework) filter (relation = 'none') as frameworks_without_control,
    from int_finding_stamps
    group by finding_id
)

select
    n.finding_id,
    n.severity,
    n.state,
    n.state not in ('fixed', 'false_positive') as is_active,
    n.title,
    n.finding_kind,
    n.rule_id,
    n.asset_id,
    a.name as asset_name,
    a.kind as asset_kind,
    a.owner,
    a.env,
    a.exposure,
    n.summary,
    n.fix,
    n.locator,
    n.hits,
    n.trials,
    n.discovered_at,
    n.evaluated_at,
    greatest(0, date_sub('day', n.discovered_at, greatest(r.as_of, n.evaluated_at))) as age_days,
    n.seq as evaluations,
    n.run_id,
    coalesce(c.controls, []) as controls,
    coalesce(c.frameworks_without_control, []) as frameworks_without_control,
    w.reason as waiver_reason,
    w.accepted_by as waiver_by,
    w.until as waiver_until,
    n.evidence_sha256,
    n.proof_label,
from newest as n
left join assets as a on a.asset_id = n.asset_id
cross join newest_run as r
left join controls as c on c.finding_id = n.finding_id
left join int_waivers as w on w.asset_id = n.asset_id and n.finding_kind = 'check.' || w.check_id
