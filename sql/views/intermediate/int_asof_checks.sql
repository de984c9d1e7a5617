-- One row per (run, asset, posture check): the newest result among the runs this run stands on.
with members as (
    select run_id, unnest(members) as member_run_id
    from int_asof
)

select
    m.run_id,
    c.* exclude (run_id),
    c.run_id as checked_run_id,
from members as m
join stg_check_results as c on c.run_id = m.member_run_id
qualify row_number() over (
    partition by m.run_id, c.asset_id, c.check_id order by c.recorded_at desc, c.run_id desc
) = 1
