-- One row per (run, finding known by then): the finding's state when the run ended.
select
    r.run_id,
    f.* exclude (run_id),
    f.run_id as evaluated_run_id,
from int_asof as r
join stg_findings as f on f.evaluated_at <= r.as_of or f.run_id = r.run_id
qualify row_number() over (partition by r.run_id, f.finding_id order by f.seq desc, f.recorded_at desc) = 1
