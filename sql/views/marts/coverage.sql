-- One row per (run, asset kind present): how many of its check results were read.
-- coverage_ppm = (pass + fail) / (pass + fail + unknown); null when no check applied.
with outcomes as (
    select
        run_id,
        asset_id,
        count(*) filter (outcome = 'pass') as pass,
        count(*) filter (outcome = 'fail') as fail,
        count(*) filter (outcome = 'unknown') as unknown,
        count(*) filter (outcome = 'not_applicable') as not_applicable,
    from int_asof_checks
    group by run_id, asset_id
),

by_kind as (
    select
        a.run_id,
        a.kind,
        count(*) as assets,
        count(o.asset_id) as assets_checked,
        cast(coalesce(sum(o.pass), 0) as BIGINT) as pass,
        cast(coalesce(sum(o.fail), 0) as BIGINT) as fail,
        cast(coalesce(sum(o.unknown), 0) as BIGINT) as unknown,
        cast(coalesce(sum(o.not_applicable), 0) as BIGINT) as not_applicable,
    from int_asof_assets as a
    left join outcomes as o on o.run_id = a.run_id and o.asset_id = a.asset_id
    where a.state = 'present'
    group by a.run_id, a.kind
)

select
    *,
    cast((pass + fail) * 1000000 // nullif(pass + fail + unknown, 0) as BIGINT) as coverage_ppm,
from by_kind
