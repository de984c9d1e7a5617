-- One row per (asset, check) whose newest result carries a waiver of the inventory: what is accepted, by whom, until when.
with newest as (
    select *
    from stg_check_results
    qualify row_number() over (partition by asset_id, check_id order by recorded_at desc, run_id desc) = 1
)

select
    asset_id,
    check_id,
    run_id,
    outcome,
    severity,
    evidence ->> '$.waiver.reason' as reason,
    evidence ->> '$.waiver.by' as accepted_by,
    try_cast(evidence ->> '$.waiver.until' as DATE) as until,
from newest
where json_type(evidence, '$.waiver') = 'OBJECT'
