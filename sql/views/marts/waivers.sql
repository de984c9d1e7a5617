-- One row per (asset, check) waived in the inventory, with the finding it covers if there is one.
with newest as (
    select *
    from stg_findings
    qualify row_number() over (partition by finding_id order by seq desc, recorded_at desc) = 1
),

latest_run as (
    select cast(max(as_of) as DATE) as today
    from int_asof
)

select
    w.asset_id,
    w.check_id,
    w.outcome,
    w.until,
    w.until < r.today as expired,
    date_diff('day', r.today, w.until) as days_left,
    w.reason,
    w.accepted_by,
    f.finding_id,
    f.title,
    w.severity,
    f.state,
from int_waivers as w
cross join latest_run as r
left join newest as f on f.asset_id = w.asset_id and f.finding_kind = 'check.' || w.check_id
