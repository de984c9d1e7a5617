-- One row per (run, asset, posture check): what the run itself recorded. `unknown` was not read and is no pass.
with assets as (
    select asset_id, kind, name
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
)

select
    c.run_id,
    c.asset_id,
    a.name as asset_name,
    a.kind as asset_kind,
    c.check_id,
    c.outcome,
    c.severity,
    c.mode,
    c.reason,
    c.evidence,
    c.evidence ->> '$.waiver.reason' as waiver_reason,
    c.evidence ->> '$.waiver.by' as waiver_by,
    try_cast(c.evidence ->> '$.waiver.until' as DATE) as waiver_until,
    c.proof_label,
    row_number() over (
        partition by c.asset_id, c.check_id order by c.recorded_at desc, c.run_id desc
    ) = 1 as is_newest,
    c.dt,
from stg_check_results as c
left join assets as a on a.asset_id = c.asset_id
